// A kernel through the 16-bit boot protocol, whose setup code asks the BIOS for everything: GRUB, iPXE and old kernels come
// in this form. Its protected-mode part is in memory before the BIOS starts; an option ROM brings the rest and enters it.
import { BOOT, EXTENDED, KiB, MiB, split } from '../layout.js';
import { place, placeInitrd, type BootRequest } from './boot.js';
import type { Image } from './image.js';
import { HEADER, isBzImage, kernelOffset, LOADED_HIGH, UNDEFINED_LOADER } from './linux.js';
import { realMode } from './real-mode.guest.js';

const SETUP_LIMIT = 32 * KiB;
/** The heap of the setup code ends here, below its stack. */
const HEAP_END = 0xe000;
const CAN_USE_HEAP = 0x80;

/** SeaBIOS works in the last part of memory. */
const BIOS_SPACE = 32 * MiB;
/** The highest place for an initial RAM disk in old versions of the protocol. */
const INITRD_LIMIT = 0x3800_0000;

/** Fields of the option ROM, which its code knows. */
const ROM = { block: 512, blocks: 2, setup: 5, line: 7 } as const;
const COMMAND_LINE_SIZE = 2048;

/** @returns the option ROM. @throws ImageError */
export function loadRealMode(request: BootRequest, image: Image): Uint8Array {
  if (!isBzImage(image) || image.u16(HEADER.version) < 0x0202 || (image.u8(HEADER.loadFlags) & LOADED_HIGH) === 0) {
    throw image.error('with -bios only kernels in the form of a bzImage can be started.');
  }
  const offset = kernelOffset(image);
  if (offset > SETUP_LIMIT) throw image.error('its setup code is too large.');
  const kernel = image.slice(offset, image.bytes.length - offset, 'its setup code');
  place(request, image, kernel, EXTENDED);

  const setup = image.slice(0, offset, 'its setup code').slice();
  const fields = new DataView(setup.buffer);
  const version = image.u16(HEADER.version);
  // Where a kernel that is packed unpacks itself to; older ones don't say.
  const unpacked = version >= 0x020a ? image.u64(HEADER.preferredAddress) + image.u32(HEADER.initSize) : 0;
  const initrdMax = version >= 0x0203 ? image.u32(HEADER.initrdMax) + 1 : INITRD_LIMIT;
  const limit = Math.min(split(request.ram).low - BIOS_SPACE, initrdMax);
  const initrd = placeInitrd(request, Math.max(EXTENDED + kernel.length, unpacked), limit);
  fields.setUint32(HEADER.ramdiskImage, initrd.base, true);
  fields.setUint32(HEADER.ramdiskSize, initrd.size, true);
  fields.setUint8(HEADER.loader, UNDEFINED_LOADER);
  fields.setUint8(HEADER.loadFlags, fields.getUint8(HEADER.loadFlags) | CAN_USE_HEAP);
  fields.setUint16(HEADER.heapEnd, HEAP_END - 0x200, true);
  fields.setUint32(HEADER.commandLine, BOOT.commandLine, true);
  const line = Buffer.from(`${request.commandLine}\0`);
  if (line.length > COMMAND_LINE_SIZE) throw image.error(`its command line can have ${COMMAND_LINE_SIZE - 1} bytes.`);
  return optionRom(setup, line);
}

function optionRom(setup: Uint8Array, line: Uint8Array): Uint8Array {
  const content = Buffer.concat([realMode.bytes, line, setup]);
  const blocks = Math.ceil((content.length + 1) / ROM.block);
  const rom = new Uint8Array(blocks * ROM.block);
  rom.set(content);
  const fields = new DataView(rom.buffer);
  fields.setUint8(ROM.blocks, blocks);
  fields.setUint16(ROM.setup, setup.length, true);
  fields.setUint16(ROM.line, line.length, true);
  rom[rom.length - 1] = -rom.reduce((sum, byte) => sum + byte, 0); // the bytes add up to 0
  return rom;
}
