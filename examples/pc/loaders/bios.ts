// A BIOS: its image ends at 4 GiB, where the processor begins, and its last part is seen below 1 MiB too.
import { EXTENDED, HIGH, MiB } from '../layout.js';
import type { GuestMemory } from '../memory.js';
import type { Image } from './image.js';

const LOW_PART = 0x2_0000;

/** Where the image is to be mapped: the caller does. Its low copy is written to memory here. @throws ImageError */
export function loadBios(memory: GuestMemory, image: Image): { gpa: number } {
  const size = image.bytes.length;
  if (size === 0 || size % 0x1_0000 !== 0 || size > 16 * MiB) {
    throw image.error(`a BIOS image is a multiple of 64 KiB, up to 16 MiB; this one has ${size} bytes.`);
  }
  // Firmware unlocks and writes this copy (shadow RAM): here it is plain memory from the start.
  const low = image.bytes.subarray(Math.max(0, size - LOW_PART));
  memory.write(EXTENDED - low.length, low);
  return { gpa: HIGH - size };
}
