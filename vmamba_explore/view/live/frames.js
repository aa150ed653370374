// A film that the reader brings: which frames it has, and pictures of those that make a clip. The browser
// decodes it in a muted <video>, which is sought to each frame and tells which one it shows.

import { element } from "../widgets/drawing.js";
import { frameNumbers, framesPerSecond } from "./sampling.js";

const PATIENCE_MS = 60000; // for a film to load, and for a seek
const SHOWN_MS = 500; // within which a browser tells which frame it shows
const BEFORE = 0.001; // seconds: a moment before a frame the one before it is shown
const SAME = 1e-5; // seconds: how near to each other times are the same
const SLOWLY = 0.25; // the speed at which a few frames are played, so that none is left out
const PLAYED = 5; // how many
const PLAYED_MS = 4000; // for how long at most
const AT_END = 4; // how many frames before its end a film is played to see the last one
const LEAST = 0.1; // the part of a step that a first frame may begin late
const ONE_FRAME = 0.2; // seconds: a film that is not longer may have one frame
const MOST_PARTS = 4; // how many frames may lie between two that were played
const ROUGH = 0.15; // of a step: how far rounded times may be off
const EVEN = 0.25; // of the time between frames: how far from even times a frame may lie
export const MOST_PIXELS_A_SIDE = 640; // of the larger pictures, as in clips/film.py

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What a file is by its first bytes, "" where that is not a film that is known.
function containerOf(head) {
  const text = String.fromCharCode(...head);
  if (text.slice(4, 8) === "ftyp" || /^(moov|mdat|wide|free)/.test(text.slice(4))) return "MP4 or MOV";
  if (text.startsWith("\x1aE\xdf\xa3")) return "WebM or MKV";
  if (text.startsWith("RIFF") && text.slice(8, 11) === "AVI") return "AVI";
  if (text.startsWith("OggS")) return "Ogg";
  if (text.startsWith("FLV")) return "FLV";
  if (text.startsWith("0&\xb2u")) return "WMV";
  if (text.startsWith("\0\0\x01") || text.startsWith("G@")) return "MPEG";
  return "";
}

// Why a file cannot be shown, for the reader.
async function reasonOf(file) {
  const container = containerOf(new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  if (!container) return `${file.name}: not a video. Choose a video file, such as MP4 or WebM.`;
  return (
    `${file.name}: this browser cannot decode this video (${container}): it does not know the codec, or the file is ` +
    "damaged. Open the page in another browser, or convert the file: ffmpeg -i FILE -c:v libvpx-vp9 -an converted.webm"
  );
}

// Waits for an event of a video; fails with its error, or when it takes too long.
function happens(video, type) {
  const listening = new AbortController();
  return new Promise((resolve, reject) => {
    const listen = (name, act) => video.addEventListener(name, act, { signal: listening.signal });
    listen(type, resolve);
    listen("error", () => reject(new Error("decoding failed")));
    setTimeout(() => reject(new Error("the browser took too long")), PATIENCE_MS);
  }).finally(() => listening.abort());
}

const unindexed = (file) => Object.assign(new Error(), { sentence: `${file.name}: this browser shows ` +
  "only one frame of this video; it may lack an index. Open the page in another browser, or add an index: " +
  "ffmpeg -i FILE -c copy indexed.webm" });

// The longest step of which all steps between these times are whole multiples; some frames may be left out.
export function commonStep(times) {
  const steps = times.slice(1).map((time, n) => time - times[n]);
  const least = Math.min(...steps);
  for (let parts = 1; parts <= MOST_PARTS; parts += 1) {
    const frames = steps.map((each) => Math.round((each * parts) / least));
    const step = (times.at(-1) - times[0]) / frames.reduce((sum, each) => sum + each, 0);
    if (steps.every((each, n) => Math.abs(each - frames[n] * step) < ROUGH * step)) return step;
  }
  return steps.length ? least : 0;
}

// Waits until the page is in front: a tab behind others is not told which frame it shows.
export async function inFront(tell) {
  if (!document.hidden) return;
  tell("waiting until this tab is in front");
  await new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}

// The picture that a video shows now, to be handed to a worker. Where a frame does not know that it is turned
// or stretched, it is drawn here, which takes a while where it is large.
export function pictureOf(video) {
  if (globalThis.VideoFrame && "rotation" in VideoFrame.prototype) return new VideoFrame(video);
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas.transferToImageBitmap();
}

export class Film {
  constructor(file) {
    this.file = file;
    this.video = element("video", { playsinline: "", preload: "auto" });
    this.video.muted = true;
    this.shown = null; // the time of the frame that is shown, seconds
  }

  // Opens a file and finds out how many frames it has.
  static async open(file, tell = () => {}) {
    if (!file.size) throw new Error(`${file.name}: the file is empty (0 bytes).`);
    const film = new Film(file);
    try {
      await inFront(tell);
      await film.load();
      await film.measure();
    } catch (error) {
      film.close();
      throw new Error(error.sentence ?? (await reasonOf(file)), { cause: error });
    }
    return film;
  }

  async load() {
    const { video } = this;
    const loaded = happens(video, "loadeddata");
    this.address = URL.createObjectURL(this.file);
    video.src = this.address;
    await loaded;
    if (!video.videoWidth) throw Object.assign(new Error(), { sentence: `${this.file.name}: it has no pictures.` });
    if (Number.isFinite(video.duration)) return;
    const known = happens(video, "durationchange"); // a recording of a browser does not say how long it is
    video.currentTime = 1e7;
    await known;
    while (video.seeking) await happens(video, "seeked");
  }

  async go(second) {
    const { video } = this;
    video.currentTime = second;
    while (video.seeking) await happens(video, "seeked"); // the first may be of a seek before this one
  }

  // Shows the frame of a moment; gives the time at which it begins, or what the browser says of it.
  async seek(second) {
    const { video } = this;
    let handle = null;
    const told = new Promise((resolve) => {
      const hear = (_, { mediaTime }) => {
        if (mediaTime <= second + BEFORE) resolve(mediaTime);
        else handle = video.requestVideoFrameCallback(hear); // of a seek before this one
      };
      handle = video.requestVideoFrameCallback(hear);
    });
    await this.go(second);
    const found = await Promise.race([told, pause(SHOWN_MS)]);
    video.cancelVideoFrameCallback(handle);
    this.told = found !== undefined;
    this.shown = found ?? this.shown; // nothing is told where the picture stays the same
    return this.shown ?? second;
  }

  // Plays a few frames after a moment; gives the times at which they begin.
  async played(second, wanted) {
    const { video } = this;
    await this.seek(second);
    const times = new Set();
    const ended = new Promise((resolve) => {
      video.addEventListener("ended", resolve, { once: true });
    });
    let handle = null;
    const enough = new Promise((resolve) => {
      const hear = (_, { mediaTime }) => {
        if (mediaTime > second + SAME) times.add(mediaTime);
        if (times.size >= wanted) resolve();
        else handle = video.requestVideoFrameCallback(hear);
      };
      handle = video.requestVideoFrameCallback(hear);
    });
    video.playbackRate = SLOWLY;
    await video.play();
    await Promise.race([enough, ended, pause(PLAYED_MS)]);
    video.pause();
    video.cancelVideoFrameCallback(handle);
    return [...times].sort((a, b) => a - b);
  }

  // Finds when the first and the last frame begin, and how much time lies between two.
  async measure() {
    const { duration } = this.video;
    this.first = await this.seek(0);
    let last = await this.seek(duration);
    if (last <= this.first) {
      if (!this.told && duration > ONE_FRAME) throw unindexed(this.file);
      return Object.assign(this, { count: 1, step: duration || 1, tells: false });
    }
    const middle = (this.first + last) / 2;
    const begins = await this.seek(middle);
    this.tells = Math.abs(begins - middle) > SAME; // Firefox says where it was told to go
    let step = last - this.first;
    if (this.tells && begins > this.first) step = begins - (await this.seek(begins - BEFORE));
    if (!this.tells) {
      const times = await this.played(0, PLAYED);
      step = commonStep(times) || step;
      if (times.length) this.first = Math.max(0, times[0] - Math.floor(times[0] / step + LEAST) * step);
      last = Math.max(this.first, last, ...(await this.played(duration - AT_END * step, Infinity)));
    }
    for (let far = 8; this.first + far * step < last; far *= 4) { // exact to a part of a frame each time
      const there = this.first + (far + 0.5) * step;
      const time = this.tells ? await this.seek(there) : (await this.played(there, 1))[0];
      const past = (time ?? 0) - this.first;
      if (past > 0) step = past / Math.max(1, Math.round(past / step));
    }
    this.count = Math.max(2, Math.round((last - this.first) / step) + 1);
    this.step = (last - this.first) / (this.count - 1);
    return this;
  }

  // Reads the frames of a clip: `size` and `frames` are the model's, `look` makes pixels of a picture.
  async clip({ frames, size, stride, start }, look, tell) {
    const { numbers, repeated } = frameNumbers(this.count, frames, stride, start);
    const found = new Map();
    let uneven = false;
    for (const number of new Set(numbers)) {
      await inFront(tell);
      tell(`reading the video: frame ${found.size + 1} of ${new Set(numbers).size}`, found.size / frames);
      const planned = this.first + number * this.step;
      const told = await this.seek(Math.min(planned + this.step / 2, this.video.duration));
      const second = this.tells ? told : planned;
      uneven ||= Math.abs(second - planned) > EVEN * this.step;
      found.set(number, { second, picture: look(pictureOf(this.video), size) });
    }
    const each = await Promise.all(numbers.map(async (number) => {
      const { second, picture } = found.get(number);
      return { second, ...(await picture) };
    }));
    return { ...joinedClip(each, repeated), uneven, numbers, source: this.file.name };
  }

  close() {
    this.video.removeAttribute("src");
    this.video.load();
    URL.revokeObjectURL(this.address);
  }
}

// One clip of its frames: { second, pixels, large, noisy } each.
export function joinedClip(each, repeated = 0) {
  const frames = new Uint8Array(each.reduce((sum, { pixels }) => sum + pixels.length, 0));
  each.forEach(({ pixels }, n) => {
    frames.set(pixels, n * pixels.length);
  });
  const side = Math.sqrt(each[0].pixels.length / 3);
  const seconds = each.map(({ second }) => second);
  const large = each.every((one) => one.large) ? each.map((one) => one.large) : null;
  const noisy = each.some((one) => one.noisy);
  return { frames, size: [side, side], seconds, fps: framesPerSecond(seconds, repeated), repeated, large, noisy };
}

// Asks the worker for pixels of pictures (see pixel_worker.js), which are handed over to it.
export class PixelWorker {
  constructor(code) {
    const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data }) => {
      URL.revokeObjectURL(address);
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error === undefined) resolve(data);
      else reject(new Error(`The pixels of a frame cannot be read: ${data.error}`));
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(`The frames cannot be read: ${event.message}`));
      this.waiting.clear();
    };
  }

  look(picture, size) {
    this.count += 1;
    const id = this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, picture, size, most: MOST_PIXELS_A_SIDE }, [picture]);
    });
  }

  close() {
    this.worker.terminate();
  }
}
