// Records a few seconds with the webcam, as a file that is sent like any other (see upload.js).

export const SECONDS = 3;
const TYPES = ["video/webm;codecs=vp8", "video/webm", "video/mp4"]; // Safari has only the last one

// What the browser's refusals mean, for the reader.
const REFUSALS = {
  NotAllowedError: "The browser did not allow the camera. Allow it in the address bar, then record again.",
  NotFoundError: "No camera was found on this computer. Choose a file instead.",
  NotReadableError: "The camera is in use by another program. Close that program, then record again.",
};

const unusable = (error) => new Error(`The camera could not be used: ${error.message}`, { cause: error });

// The stream of a camera; an error is a sentence for the reader.
export async function openCamera() {
  const devices = globalThis.navigator?.mediaDevices;
  if (!devices?.getUserMedia) {
    throw new Error("This page may not use a camera: open it over https or on localhost, in a browser that has one.");
  }
  try {
    return await devices.getUserMedia({ video: { width: 640, height: 480 }, audio: false });
  } catch (error) {
    throw REFUSALS[error.name] ? new Error(REFUSALS[error.name], { cause: error }) : unusable(error);
  }
}

export const stopTracks = (stream) => {
  for (const track of stream?.getTracks() ?? []) track.stop();
};

export class Webcam {
  constructor() {
    this.stream = null;
    this.closed = false;
  }

  // Gives the film as a file. `tell` hears how many seconds are left, and the stream once there is one.
  async record(tell, seconds = SECONDS) {
    const type = globalThis.MediaRecorder && TYPES.find((one) => MediaRecorder.isTypeSupported(one));
    if (!type) throw new Error("This browser records no film that can be read here. Choose a file instead.");
    this.stream = await openCamera();
    try {
      if (this.closed) throw new Error("The view was closed.");
      return await this.film(type, seconds, tell);
    } catch (error) {
      throw unusable(error);
    } finally {
      this.stop();
    }
  }

  film(type, seconds, tell) {
    const recorder = new MediaRecorder(this.stream, { mimeType: type });
    const pieces = [];
    return new Promise((resolve, reject) => {
      let left = seconds;
      tell(left, this.stream);
      const clock = setInterval(() => {
        left -= 1;
        if (left > 0) tell(left, this.stream);
        else recorder.stop();
      }, 1000);
      recorder.ondataavailable = ({ data }) => data.size && pieces.push(data);
      recorder.onerror = ({ error }) => {
        clearInterval(clock);
        reject(error ?? new Error("recording failed"));
      };
      recorder.onstop = () => {
        clearInterval(clock);
        if (!pieces.length) return reject(new Error("it gave no pictures"));
        const kind = type.split(";")[0];
        resolve(new File(pieces, `webcam.${kind.split("/")[1]}`, { type: kind }));
      };
      recorder.start();
    });
  }

  stop() {
    stopTracks(this.stream);
    this.stream = null;
  }

  close() {
    this.closed = true;
    this.stop();
  }
}
