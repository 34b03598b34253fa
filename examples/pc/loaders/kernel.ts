// -kernel: finds out what a file is, and starts it as that.
import type { BootRequest, Entry } from './boot.js';
import { isElf } from './elf.js';
import { loadFlat } from './flat.js';
import type { Image } from './image.js';
import { extractVmlinux, isBzImage, loadBzImage, loadVmlinux } from './linux.js';
import { loadMultiboot, multibootHeader } from './multiboot.js';

export interface KernelOptions {
  /** Starts the vmlinux inside a bzImage instead. */
  readonly unpack?: boolean;
  /** The file has no format: it goes to this address, and is entered in real mode. */
  readonly flatAddress?: number | undefined;
}

/** @throws ImageError */
export function loadKernel(request: BootRequest, image: Image, options: KernelOptions = {}): Entry {
  if (options.flatAddress !== undefined) return loadFlat(request, image, options.flatAddress);
  if (isBzImage(image)) {
    return options.unpack === true ? loadVmlinux(request, extractVmlinux(image)) : loadBzImage(request, image);
  }
  if (multibootHeader(image) !== undefined) return loadMultiboot(request, image);
  if (isElf(image)) return loadVmlinux(request, image);
  throw image.error('it is no bzImage, no multiboot kernel and no ELF file; to run it as it is, give --flat ADDRESS.');
}
