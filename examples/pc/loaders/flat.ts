// A file without any format: its bytes go to an address, and are entered there in real mode.
import { store, type BootRequest, type Entry } from './boot.js';
import type { Image } from './image.js';

/** @param address up to 0xffff, or a multiple of 16 below 1 MiB. @throws ImageError */
export function loadFlat(request: BootRequest, image: Image, address: number): Entry {
  const segment = address < 0x1_0000 ? 0 : address / 16;
  if (!Number.isInteger(segment) || segment > 0xffff) {
    throw image.error(`real mode can't enter it at 0x${address.toString(16)}.`);
  }
  store(request, image, image.bytes, address, image.bytes.length);
  return { mode: 'real', rip: address - segment * 16, segment, registers: {} };
}
