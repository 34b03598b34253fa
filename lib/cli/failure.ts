// What a person can do about a device that does not open.
import { NvmmError } from '../errors.js';
import { CommandError } from './output.js';
import { UsageError } from './command.js';

const GUIDE = 'docs/netbsd.md of this package tells more';

/** The message for an error that is the user's affair; undefined for one that is a defect of this program. */
export function explain(error: unknown, platform: string = process.platform): string | undefined {
  if (error instanceof UsageError || error instanceof CommandError) return error.message;
  if (!(error instanceof NvmmError)) {
    // A file or pipe that the system refused, or a native module that is not built.
    return error instanceof Error && ('syscall' in error || error.message.includes('npm rebuild'))
      ? error.message
      : undefined;
  }
  return error.operation.startsWith('open ')
    ? `${error.operation}: ${error.code}. ${cure(error.code, platform)}`
    : error.message;
}

function cure(code: string, platform: string): string {
  if (platform !== 'netbsd') {
    return 'NVMM is a part of NetBSD, and this is another system: add --device mock to work with the software device.';
  }
  switch (code) {
    case 'ENOENT':
      return `The device node is missing. Load the driver with "modload nvmm" as root; if there is still no node: cd /dev && sh MAKEDEV nvmm (${GUIDE}).`;
    case 'ENXIO':
      return `No driver answers. Load it with "modload nvmm" as root. If that fails, the CPU lacks what NVMM needs (AMD: SVM with nested paging; Intel: VMX with EPT and unrestricted guest), or it is switched off in the firmware, or this is a virtual machine without nested virtualization: "dmesg | grep nvmm" tells, and --device mock works everywhere.`;
    case 'EACCES':
    case 'EPERM':
      return `You may not open it. Machines: add your user to the group nvmm ("usermod -G nvmm USER" as root) and log in again. list and top see everybody's machines: only root may use them (${GUIDE}).`;
    case 'EMFILE':
    case 'ENFILE':
      return 'Too many files are open: close some, or raise the limit (ulimit -n).';
    default:
      return `It could not be opened (${GUIDE}).`;
  }
}
