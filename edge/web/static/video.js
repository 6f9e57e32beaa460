// Frames that come as H.264, decoded by the browser itself (WebCodecs). Where it cannot, the server sends JPEG.

const LATE_MS = 2000; // a decoder that gives nothing for so long will give nothing more
const BASELINE = "avc1.42c01f"; // a codec to ask for; the stream itself says which it is

export class VideoError extends Error {}

// Why frames cannot come as H.264, in words; "" where they can.
export async function whyNoVideo() {
  if (!window.isSecureContext) return "H.264 needs https, or localhost";
  if (typeof VideoDecoder !== "function") return "this browser has no WebCodecs";
  const answer = await VideoDecoder.isConfigSupported({ codec: BASELINE }).catch(() => null);
  return answer?.supported ? "" : "this browser does not decode H.264";
}

// One stream. What it raises is a VideoError: then nothing more will come of it.
export class Video {
  #decoder = null; #form = ""; #waits = null;

  // The newest image, a VideoFrame that the caller closes, of what the head of a message says and its bytes.
  async decode({ codec, chunks }, size, data) {
    const newest = new Promise((resolve, reject) => { this.#waits = { us: chunks.at(-1).us, resolve, reject }; });
    const late = setTimeout(() => this.#fail(`no image within ${LATE_MS / 1000} s`), LATE_MS);
    try {
      const form = [codec, ...size].join();
      if (form !== this.#form) this.#begin(codec);
      this.#form = form;
      let at = 0;
      for (const { us, bytes, key } of chunks) {
        this.#decoder.decode(new EncodedVideoChunk({ type: key ? "key" : "delta", timestamp: us, data: data.subarray(at, at += bytes) }));
      }
    } catch (error) {
      this.#fail(error.message);
    }
    return newest.finally(() => clearTimeout(late));
  }

  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#fail("closed");
  }

  #begin(codec) {
    this.#decoder ??= new VideoDecoder({ output: (image) => this.#take(image), error: (error) => this.#fail(error.message) });
    this.#decoder.configure({ codec, optimizeForLatency: true }); // without a description: Annex B
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
