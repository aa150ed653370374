// Bytes as text, 7 bits a character: 8 characters for 7 bytes, where base64 has 9.3. portable.py
// writes it. The three characters that a script element cannot hold stand 256 higher.

// text: the characters; count: how many bytes they hold
export function base128Bytes(text, count) {
  const bytes = new Uint8Array(count);
  let [held, bits, at] = [0, 0, 0];
  for (let i = 0; at < count; i += 1) {
    held = ((held << 7) | (text.charCodeAt(i) & 127)) & 0x7fff;
    bits += 7;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = held >> bits;
    }
  }
  return bytes;
}
