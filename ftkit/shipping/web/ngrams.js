// Counts of character n-grams, hashed, as ftkit/exported/ngrams.py has them.

// what Python takes for a space, which is not quite what JavaScript does
const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;

/** A Float32Array of `buckets` counts, of length one, or zero. */
export function countNgrams(text, { shortest, longest, buckets }) {
  const found = new Float32Array(buckets);
  for (const ngram of ngramsOf(text, shortest, longest)) found[bucketOf(ngram, buckets)] += 1;
  const length = Math.sqrt(found.reduce((sum, count) => sum + count * count, 0));
  return length ? found.map((count) => count / length) : found;
}

function* ngramsOf(text, shortest, longest) {
  for (const word of text.split(SPACES)) {
    if (!word) continue;
    const padded = [" ", ...word, " "];
    for (let n = shortest; n <= longest; n++) {
      yield padded.slice(0, n).join("");
      for (let start = 1; start <= padded.length - n; start++) {
        yield padded.slice(start, start + n).join("");
      }
      if (n >= padded.length) break;
    }
  }
}

function bucketOf(ngram, buckets) {
  return Math.abs(murmur3(new TextEncoder().encode(ngram))) % buckets;
}

/** MurmurHash3 of 32 bits with seed 0 (Appleby 2011, public domain), as a signed number. */
export function murmur3(data) {
  const whole = data.length - (data.length % 4);
  let found = 0;
  for (let start = 0; start < whole; start += 4) {
    found ^= mixed(littleEndian(data, start, 4));
    found = (Math.imul(turned(found, 13), 5) + 0xe6546b64) | 0;
  }
  if (whole < data.length) found ^= mixed(littleEndian(data, whole, data.length - whole));
  found ^= data.length;
  found = Math.imul(found ^ (found >>> 16), 0x85ebca6b);
  found = Math.imul(found ^ (found >>> 13), 0xc2b2ae35);
  return found ^ (found >>> 16);
}

function littleEndian(data, start, count) {
  let found = 0;
  for (let place = 0; place < count; place++) found |= data[start + place] << (8 * place);
  return found;
}

const turned = (value, by) => (value << by) | (value >>> (32 - by));
const mixed = (block) => Math.imul(turned(Math.imul(block, 0xcc9e2d51), 15), 0x1b873593);
