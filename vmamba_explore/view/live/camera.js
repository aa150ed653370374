// A clip from the webcam: frames taken from its picture at even times, without a codec in between.

import { element } from "../widgets/drawing.js";
import { openCamera, stopTracks } from "../widgets/webcam.js";
import { joinedClip, pictureOf } from "./frames.js";

export const CLIP_SECONDS = 2;
const COUNTDOWN = 3; // seconds
const LATE = 1.5; // of the time between two frames: a gap that is longer is said
export const MIRRORED = "The preview is mirrored; the model gets the picture as the camera sees it, so left and " +
  "right change places between them.";

const until = (moment) => new Promise((resolve) => setTimeout(resolve, Math.max(0, moment - performance.now())));

export class FrameCamera {
  constructor() {
    Object.assign(this, { stream: null, closed: false });
    this.video = element("video", { class: "live-preview", playsinline: "", "aria-label": "camera, mirrored" });
    this.video.muted = true;
  }

  // Takes `frames` pictures; `look` makes the model's pixels of one, `tell` gets what is going on.
  async record({ frames, size }, look, tell) {
    tell("waiting for the camera …");
    this.stream = await openCamera();
    const watching = new AbortController();
    let trouble = this.closed ? "The recording was cancelled." : "";
    const { signal } = watching;
    document.addEventListener("visibilitychange", () => {
      trouble ||= "The page was in the background during the recording, where a browser shows no new pictures. " +
        "Keep it in front, and record again.";
    }, { signal });
    this.stream.getVideoTracks()[0].addEventListener("ended", () => {
      trouble ||= "The camera stopped during the recording. Check that it is connected, and record again.";
    }, { signal });
    const go = () => {
      if (this.closed) trouble ||= "The recording was cancelled.";
      if (trouble) throw new Error(trouble);
    };
    try {
      go();
      this.video.srcObject = this.stream;
      await this.video.play();
      for (let left = COUNTDOWN; left > 0; left--) {
        tell(`${left} …`);
        await until(performance.now() + 1000);
        go();
      }
      tell("recording");
      const [step, begin, taken] = [(1000 * CLIP_SECONDS) / frames, performance.now(), []];
      for (let n = 0; n < frames; n++) {
        await until(begin + n * step);
        go();
        taken.push({ second: (performance.now() - begin) / 1000, picture: look(pictureOf(this.video), size) });
      }
      this.stop();
      const each = await Promise.all(taken.map(async ({ second, picture }) => ({ second, ...(await picture) })));
      const gaps = taken.slice(1).map(({ second }, n) => 1000 * (second - taken[n].second));
      return { ...joinedClip(each), source: "webcam", uneven: Math.max(...gaps) > LATE * step };
    } finally {
      watching.abort();
      this.stop();
    }
  }

  stop() {
    stopTracks(this.stream);
    this.stream = this.video.srcObject = null;
  }

  close() {
    this.closed = true;
    this.stop();
  }
}
