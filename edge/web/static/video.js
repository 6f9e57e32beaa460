// Frames that come as H.264, decoded by the browser itself (WebCodecs). Where it cannot, the server sends JPEG.

const LATE_MS = 2000; // a decoder that gives nothing for so long will give nothing more
const BASELINE = "avc1.42c01f"; // a codec to ask for; the stream itself says which it is
// In software, as a decoder of the graphics card may hold frames back, and its images would have to be fetched from there.
const CONFIG = { optimizeForLatency: true, hardwareAcceleration: "prefer-software" };

export class VideoError extends Error {}

// Why frames cannot come as H.264, in words; "" where they can.
export async function unavailableReason() {
  if (!window.isSecureContext) return "H.264 needs https, or localhost";
  if (typeof VideoDecoder !== "function") return "this browser has no WebCodecs";
  const answer = await VideoDecoder.isConfigSupported({ ...CONFIG, codec: BASELINE }).catch(() => null);
  return answer?.supported ? "" : "this browser does not decode H.264";
}

// One stream. What it raises is a VideoError: then nothing more will come of it.
export class Video {
  #decoder = null; #form = ""; #waits = null; #pixels = [];

  // The newest frame, of what the head of a message says of it and its bytes, as ImageData. It holds until the next but one:
  // what is on the screen may be drawn again while its successor is made.
  async decode({ codec, chunks }, size, data) {
    const newest = new Promise((resolve, reject) => { this.#waits = { us: chunks.at(-1).us, resolve, reject }; });
    const late = setTimeout(() => this.#fail(`no image within ${LATE_MS / 1000} s`), LATE_MS);
    try {
      this.#begin(codec, size);
      let at = 0;
      for (const { us, bytes, key } of chunks) {
        this.#decoder.decode(new EncodedVideoChunk({ type: key ? "key" : "delta", timestamp: us, data: data.subarray(at, at += bytes) }));
      }
    } catch (error) {
      this.#fail(error.message);
    }
    const image = await newest.finally(() => clearTimeout(late));
    return this.#fetch(image, size);
  }

  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#fail("closed");
  }

  #begin(codec, [width, height]) {
    const form = `${codec} ${width}x${height}`;
    if (form === this.#form) return;
    this.#form = form;
    this.#decoder ??= new VideoDecoder({ output: (image) => this.#take(image), error: (error) => this.#fail(error.message) });
    this.#decoder.configure({ ...CONFIG, codec }); // without a description: Annex B
    this.#pixels = [new ImageData(width, height), new ImageData(width, height)];
  }

  // As pixels: without a graphics card, to draw a VideoFrame takes a canvas several times as long (Chromium 156).
  async #fetch(image, [width]) {
    const pixels = this.#pixels.shift();
    this.#pixels.push(pixels);
    try {
      await image.copyTo(pixels.data, { format: "RGBA", layout: [{ offset: 0, stride: 4 * width }] });
    } catch (error) {
      throw new VideoError(error.message);
    } finally {
      image.close();
    }
    return pixels;
  }

  #take(image) {
    if (image.timestamp !== this.#waits?.us) { image.close(); return; } // one that was only needed for the next
    this.#waits.resolve(image);
    this.#waits = null;
  }

  #fail(reason) {
    this.#waits?.reject(new VideoError(reason));
    this.#waits = null;
  }
}
