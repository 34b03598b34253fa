// The devices that scenarios can be run on.
import { errnoName, fieldOf, getField, openFlags, requestOf, sizeOf } from './abi.js';
import { loadNative, type RawModule } from './native.js';
import { RawDevice, Session } from './session.js';
import type { Vendor } from './types.js';
import { UserError } from './user-error.js';

/** A system with the driver, real or in software. */
export interface Host {
  device: 'mock' | 'kernel';
  vendor: Vendor;
  /** The CPUs that it can have: with virtualization, without. */
  virtualization: readonly boolean[];
  /** Whether a child process can be had. */
  canFork: boolean;
  /** Whether nodes of other minor numbers can be made, and the device opened for writing: always on the mock. */
  isRoot: boolean;
  /** A device without machines: each scenario has its own, as far as the host can do that. */
  newDevice(virtualization: boolean): RawDevice;
}

export function mockHost(vendor: Vendor): Host {
  const raw = loadNative('nvmm_raw');
  const mock = loadNative('nvmm_mock');
  const options = {
    vendor,
    kernelVersion: 2,
    maxMachines: 128,
    maxVcpus: 256,
    maxRam: 0x2000000000,
    timeSlice: 0,
    clock: 'instructions',
  };
  return {
    device: 'mock',
    vendor,
    virtualization: [true, false],
    canFork: true,
    newDevice: (virtualization) => new RawDevice(raw, mock.createDevice({ ...options, virtualization })),
    isRoot: true,
  };
}

/** The kernel of this system. Throws where its device cannot be opened. */
export function kernelHost(): Host {
  const raw: RawModule = loadNative('nvmm_raw');
  const device = new RawDevice(raw, raw.kernelDevice());
  const fd = raw.open(device.handle, '/dev/nvmm', openFlags('O_RDONLY|O_CLOEXEC'), 0);
  const hasVirtualization = fd !== -6; // ENXIO: the driver is there, and found no CPU that it supports
  if (fd < 0 && hasVirtualization) throw new UserError(`/dev/nvmm cannot be opened: ${errnoName(-fd)}.`);
  const vendor = hasVirtualization ? vendorOf(device, fd) : 'amd';
  if (hasVirtualization) raw.close(device.handle, fd);
  return {
    device: 'kernel',
    vendor,
    virtualization: [hasVirtualization],
    canFork: false,
    isRoot: process.getuid?.() === 0,
    newDevice: () => device,
  };
}

/** Only the Intel backend offers TPR exits. */
function vendorOf(device: RawDevice, fd: number): Vendor {
  const session = new Session(device);
  try {
    device.module.ioctl(device.handle, fd, requestOf('NVMM_IOC_CAPABILITY'), session.argument);
    const capability = session.load(session.argument, sizeOf('nvmm_capability'));
    const support = getField(capability, fieldOf('nvmm_capability', 'arch.vcpu_conf_support'));
    return support & 2n ? 'intel' : 'amd';
  } finally {
    session.end();
  }
}
