// Questions to the kernel, each with an id of this view's own: all views of a widget hear all answers.

export class Requests {
  constructor(model) {
    this.model = model;
    this.name = Math.random().toString(36).slice(2);
    this.count = 0;
    this.waiting = new Map(); // what settles a question, by its id
    this.hear = (content, buffers) => this.waiting.get(content.reply)?.(content, buffers);
    model.on("msg:custom", this.hear);
  }

  // The kernel's answer and its buffers, or its error. An answer may still come after `late` was called.
  ask(content, seconds, late, ...buffers) {
    return this.run(content, seconds, { late }, buffers);
  }

  // The same of work that takes longer: `progress` hears how far it is, and `late` is called when
  // nothing has been heard for so many seconds. `started` gets the id, which `cancel` takes.
  run(content, seconds, { late, progress = null, started = null }, buffers = []) {
    this.count += 1;
    const id = `${this.name} ${this.count}`;
    started?.(id);
    return new Promise((resolve, reject) => {
      let timer = setTimeout(late, 1000 * seconds);
      this.waiting.set(id, (answer, parts) => {
        clearTimeout(timer);
        if (answer.progress !== undefined) {
          timer = setTimeout(late, 1000 * seconds);
          progress?.(answer.words, answer.progress);
          return;
        }
        this.waiting.delete(id);
        if (answer.error === undefined) resolve({ ...answer, buffers: parts });
        else reject(new Error(answer.error));
      });
      this.model.send({ request: id, ...content }, undefined, buffers);
    });
  }

  cancel(id) {
    this.model.send({ cancel: id });
  }

  // Ends all that waits.
  stop(reason) {
    for (const settle of [...this.waiting.values()]) settle({ error: reason });
  }

  close() {
    this.model.off("msg:custom", this.hear);
    this.stop("the view was closed");
  }
}
