// The levels of an image as training had them: upright, red, green and blue, alpha dropped.

/** {levels, width, height} of a blob; levels are bytes, three of each pixel, row after row. */
export async function pixelsOf(blob) {
  const bitmap = await bitmapOf(blob);
  const { width, height } = bitmap;
  let rgba = fromCanvas(bitmap);
  // a canvas keeps colours multiplied by alpha, and what is dividing them again is rounded
  if (isTranslucent(rgba)) rgba = fromTexture(bitmap) ?? rgba;
  const levels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    levels[to++] = rgba[from];
    levels[to++] = rgba[from + 1];
    levels[to++] = rgba[from + 2];
  }
  bitmap.close();
  return { levels, width, height };
}

async function bitmapOf(blob) {
  const plain = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  try {
    return await createImageBitmap(blob, { imageOrientation: "from-image", ...plain });
  } catch {
    const kind = blob.type ? ` (${blob.type})` : "";
    throw new Error(`Your browser cannot read this file as an image${kind}; give JPEG, PNG or WebP`);
  }
}

function canvasOf(width, height) {
  if (typeof OffscreenCanvas !== "undefined") return new OffscreenCanvas(width, height);
  return Object.assign(document.createElement("canvas"), { width, height });
}

function fromCanvas(bitmap) {
  const canvas = canvasOf(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

function isTranslucent(rgba) {
  for (let place = 3; place < rgba.length; place += 4) if (rgba[place] !== 255) return true;
  return false;
}

/** The pixels by way of a texture, which keeps colours as they are; null where there is none. */
function fromTexture(bitmap) {
  const { width, height } = bitmap;
  const gl = canvasOf(1, 1).getContext("webgl2");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  const texture = gl.getParameter(gl.TEXTURE_BINDING_2D);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) return null;
  const rgba = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
  const failed = gl.getError() !== gl.NO_ERROR;
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return failed ? null : rgba;
}
