// Linux on x86: a bzImage through the 32- or 64-bit boot protocol (the kernel's Documentation/arch/x86/boot.rst), a vmlinux
// through PVH or the 64-bit protocol.
import { gunzipSync } from 'node:zlib';
import { BOOT, memoryMap } from '../layout.js';
import { place, placeCommandLine, placeInitrd, type BootRequest, type Entry } from './boot.js';
import { elfNotes, isElf, loadElf, parseElf, type Elf } from './elf.js';
import { Image } from './image.js';
import { isLz4Legacy, lz4Legacy } from './lz4.js';

/** The setup header: offsets in the file, which are those in the zero page too. */
export const HEADER = {
  start: 0x1f1,
  setupSectors: 0x1f1,
  bootFlag: 0x1fe,
  jumpLength: 0x201,
  magic: 0x202,
  version: 0x206,
  loader: 0x210,
  loadFlags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  heapEnd: 0x224,
  commandLine: 0x228,
  initrdMax: 0x22c,
  relocatable: 0x234,
  extendedLoadFlags: 0x236,
  commandLineSize: 0x238,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
  preferredAddress: 0x258,
  initSize: 0x260,
} as const;

/** The rest of the zero page, struct boot_params. */
const ZERO_PAGE = { screen: 0x000, e820Count: 0x1e8, e820: 0x2d0, size: 0x1000 } as const;

const BOOT_FLAG = 0xaa55;
const HEADER_MAGIC = 0x53726448; // HdrS
export const LOADED_HIGH = 0x01;
const KERNEL_64 = 0x01; // of the extended load flags: there is a 64-bit entry
const ENTRY_64 = 0x200;
export const UNDEFINED_LOADER = 0xff;

const PVH_NOTE = 18; // XEN_ELFNOTE_PHYS32_ENTRY
const PVH_MAGIC = 0x336ec578;

export const isBzImage = (image: Image): boolean =>
  image.bytes.length > 0x210 && image.u16(HEADER.bootFlag) === BOOT_FLAG && image.u32(HEADER.magic) === HEADER_MAGIC;

/** Where the protected-mode part of a bzImage begins in the file. */
export function kernelOffset(image: Image): number {
  const sectors = image.u8(HEADER.setupSectors);
  return ((sectors === 0 ? 4 : sectors) + 1) * 512; // 0 means 4, for old boot loaders' sake
}

/** Loads a bzImage. @throws ImageError */
export function loadBzImage(request: BootRequest, image: Image): Entry {
  const version = image.u16(HEADER.version);
  if (version < 0x0206 || (image.u8(HEADER.loadFlags) & LOADED_HIGH) === 0) {
    throw image.error('the kernel is too old: its boot protocol is older than 2.06, or it is a zImage.');
  }
  const offset = kernelOffset(image);
  const kernel = image.slice(offset, image.bytes.length - offset, 'its setup code');
  const hasEntry64 = version >= 0x020c && (image.u16(HEADER.extendedLoadFlags) & KERNEL_64) !== 0;
  const knowsAddress = version >= 0x020a && image.u8(HEADER.relocatable) !== 0;
  const base = knowsAddress ? image.u64(HEADER.preferredAddress) : image.u32(HEADER.code32Start);
  const size = Math.max(kernel.length, version >= 0x020a ? image.u32(HEADER.initSize) : 0);
  place(request, image, kernel, base, size);

  // The header goes to the zero page as it is in the file, with the loader's fields filled in.
  const headerSize = HEADER.magic + image.u8(HEADER.jumpLength) - HEADER.start;
  const zeroPage = newZeroPage(request);
  new Uint8Array(zeroPage.buffer).set(image.slice(HEADER.start, headerSize, 'its header'), HEADER.start);
  zeroPage.setUint32(HEADER.code32Start, base, true);
  completeZeroPage(request, zeroPage, base + size, image.u32(HEADER.commandLineSize), image.u32(HEADER.initrdMax) + 1);
  return hasEntry64
    ? { mode: 'long', rip: base + ENTRY_64, registers: { RSI: BOOT.zeroPage } }
    : { mode: 'protected', rip: base, registers: { RSI: BOOT.zeroPage } };
}

/** Loads an ELF kernel: through its PVH entry if it has one, else as the boot protocol of its class says. */
export function loadVmlinux(request: BootRequest, image: Image): Entry {
  const elf = parseElf(image);
  const pvh = pvhEntry(image, elf);
  const end = loadElf(request, image, elf);
  if (pvh !== undefined) return startPvh(request, pvh, end);
  const zeroPage = newZeroPage(request);
  zeroPage.setUint16(HEADER.bootFlag, BOOT_FLAG, true);
  zeroPage.setUint32(HEADER.magic, HEADER_MAGIC, true);
  zeroPage.setUint16(HEADER.version, 0x020c, true);
  zeroPage.setUint8(HEADER.loadFlags, LOADED_HIGH);
  completeZeroPage(request, zeroPage, end, 2047, 2 ** 31);
  return { mode: elf.bits === 64 ? 'long' : 'protected', rip: elf.entry, registers: { RSI: BOOT.zeroPage } };
}

// ---- The zero page ----

function newZeroPage({ ram }: BootRequest): DataView {
  const page = new DataView(new ArrayBuffer(ZERO_PAGE.size));
  // The VGA is in mode 3, 80 by 25 characters of 16 lines.
  page.setUint8(ZERO_PAGE.screen + 0x06, 3);
  page.setUint8(ZERO_PAGE.screen + 0x07, 80);
  page.setUint8(ZERO_PAGE.screen + 0x0e, 25);
  page.setUint8(ZERO_PAGE.screen + 0x0f, 1);
  page.setUint16(ZERO_PAGE.screen + 0x10, 16, true);
  const map = memoryMap(ram);
  page.setUint8(ZERO_PAGE.e820Count, map.length);
  map.forEach(({ base, size, type }, index) => {
    const at = ZERO_PAGE.e820 + 20 * index;
    page.setBigUint64(at, BigInt(base), true);
    page.setBigUint64(at + 8, BigInt(size), true);
    page.setUint32(at + 16, type, true);
  });
  return page;
}

function completeZeroPage(
  request: BootRequest,
  page: DataView,
  kernelEnd: number,
  commandLineSize: number,
  initrdLimit: number,
): void {
  const initrd = placeInitrd(request, kernelEnd, initrdLimit);
  page.setUint8(HEADER.loader, UNDEFINED_LOADER);
  page.setUint32(HEADER.ramdiskImage, initrd.base, true);
  page.setUint32(HEADER.ramdiskSize, initrd.size, true);
  page.setUint32(HEADER.commandLine, placeCommandLine(request, commandLineSize), true);
  request.memory.write(BOOT.zeroPage, new Uint8Array(page.buffer));
}

// ---- PVH: the direct boot that Xen defined ----

/** The address in the note that says where 32-bit code may enter; undefined if there is none. */
function pvhEntry(image: Image, elf: Elf): number | undefined {
  const note = elfNotes(image, elf).find(({ name, type }) => name === 'Xen' && type === PVH_NOTE);
  if (note === undefined) return undefined;
  if (note.value.length < 4) throw image.error('its PVH note is too short.');
  return new DataView(note.value.buffer, note.value.byteOffset).getUint32(0, true);
}

function startPvh(request: BootRequest, entry: number, kernelEnd: number): Entry {
  const initrd = placeInitrd(request, kernelEnd);
  const map = memoryMap(request.ram);
  const [modules, memoryTable] = [BOOT.startInfo + 0x40, BOOT.startInfo + 0x80];
  const info = new DataView(new ArrayBuffer(0x80 + 24 * map.length));
  const u64 = (offset: number, value: number): void => {
    info.setBigUint64(offset, BigInt(value), true);
  };
  info.setUint32(0, PVH_MAGIC, true);
  info.setUint32(4, 1, true); // version
  info.setUint32(12, initrd.size > 0 ? 1 : 0, true);
  u64(16, modules);
  u64(24, placeCommandLine(request));
  u64(40, memoryTable);
  info.setUint32(48, map.length, true);
  u64(modules - BOOT.startInfo, initrd.base);
  u64(modules - BOOT.startInfo + 8, initrd.size);
  map.forEach(({ base, size, type }, index) => {
    const at = memoryTable - BOOT.startInfo + 24 * index;
    u64(at, base);
    u64(at + 8, size);
    info.setUint32(at + 16, type, true);
  });
  request.memory.write(BOOT.startInfo, new Uint8Array(info.buffer));
  return { mode: 'protected', rip: entry, registers: { RBX: BOOT.startInfo } };
}

// ---- The vmlinux inside a bzImage ----

/**
 * Takes the compressed kernel out of a bzImage: started directly, it need not unpack itself. LZ4 and gzip are known.
 *
 * @throws ImageError if it is packed otherwise.
 */
export function extractVmlinux(image: Image): Image {
  if (!isBzImage(image) || image.u16(HEADER.version) < 0x0208) throw image.error('it is no bzImage with a payload.');
  const offset = kernelOffset(image) + image.u32(HEADER.payloadOffset);
  const length = image.u32(HEADER.payloadLength);
  const payload = image.slice(offset, length, 'its payload');
  const vmlinux = new Image(`${image.name} (vmlinux inside)`, unpack(image, payload));
  if (!isElf(vmlinux)) throw image.error('its payload holds no ELF file.');
  return vmlinux;
}

function unpack(image: Image, payload: Uint8Array): Uint8Array {
  // The last four bytes are the size of what is inside.
  const size = new Image(image.name, payload).u32(payload.length - 4, 'its payload');
  if (size > 2 ** 30) throw image.error(`its payload claims to be ${size} bytes long.`);
  if (isLz4Legacy(payload)) return lz4Legacy(payload, size);
  if (payload[0] === 0x1f && payload[1] === 0x8b) {
    try {
      return gunzipSync(payload, { maxOutputLength: size });
    } catch (error) {
      throw image.error(`its payload can't be unpacked: ${(error as Error).message}.`);
    }
  }
  throw image.error('its payload is packed neither with LZ4 nor with gzip: start the bzImage itself.');
}
