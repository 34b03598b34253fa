// LZ4 in its legacy frame, as the Linux kernel is packed with it: a magic number, then blocks with their sizes.
import { ImageError } from './image.js';

const MAGIC = 0x184c2102;
const MIN_MATCH = 4;
/** Bytes that one byte of packed data can stand for. */
const MOST = 255;

export const isLz4Legacy = (bytes: Uint8Array): boolean =>
  bytes.length >= 8 && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === MAGIC;

/**
 * Unpacks `size` bytes; what follows behind them is not looked at.
 *
 * @throws ImageError if the data is damaged.
 */
export function lz4Legacy(packed: Uint8Array, size: number): Uint8Array {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  if (size > MOST * packed.length) throw damaged();
  const output = new Uint8Array(size);
  let [at, done] = [4, 0];
  while (done < size) {
    if (at + 4 > packed.length) throw damaged();
    const length = view.getUint32(at, true);
    at += 4;
    if (length === MAGIC) continue; // frames may be joined
    if (at + length > packed.length) throw damaged();
    done = unpackBlock(packed.subarray(at, at + length), output, done);
    at += length;
  }
  return output;
}

const damaged = (): ImageError => new ImageError('The LZ4 data is damaged.');

/** Unpacks a block behind the first `start` bytes of `output`; how many there are then. Matches don't leave the block. */
function unpackBlock(block: Uint8Array, output: Uint8Array, start: number): number {
  let [from, to] = [0, start];
  /** Adds bytes to a length of 15 as long as they are 255. */
  const extend = (length: number): number => {
    if (length !== 15) return length;
    let [total, byte] = [length, 255];
    while (byte === 255) {
      if (from >= block.length) throw damaged();
      byte = block[from++]!;
      total += byte;
    }
    return total;
  };
  while (from < block.length) {
    const token = block[from++]!;
    const literals = extend(token >> 4);
    if (from + literals > block.length || to + literals > output.length) throw damaged();
    copy(block, from, output, to, literals);
    from += literals;
    to += literals;
    if (from === block.length) break; // the last sequence has literals only
    if (from + 2 > block.length) throw damaged();
    const distance = block[from]! | (block[from + 1]! << 8);
    from += 2;
    const length = extend(token & 15) + MIN_MATCH;
    if (distance === 0 || distance > to - start || to + length > output.length) throw damaged();
    copy(output, to - distance, output, to, length);
    to += length;
  }
  return to;
}

/** Copies one byte after the other, so that a match may repeat itself; long pieces that don't overlap at once. */
function copy(source: Uint8Array, from: number, target: Uint8Array, to: number, length: number): void {
  if (length > 64 && (source !== target || to - from >= length)) target.set(source.subarray(from, from + length), to);
  else for (let i = 0; i < length; i++) target[to + i] = source[from + i]!;
}
