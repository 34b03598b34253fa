// The devices that the conformance suite runs on: every flavour of the mock, and the real one where it opens.
import { openNvmm, type Nvmm, NvmmError } from 'nvmm';
import { createMock, type MockOptions } from 'nvmm/mock';

export interface TestDevice {
  readonly name: string;
  /** Opens it afresh: a mock system of its own each time. */
  open(): Nvmm;
}

const flavours: MockOptions[] = [
  { vendor: 'amd', kernelVersion: 2 },
  { vendor: 'intel', kernelVersion: 2 },
  { vendor: 'amd', kernelVersion: 1 },
  { vendor: 'intel', kernelVersion: 1 },
];

const mocks: TestDevice[] = flavours.map((options) => ({
  name: `mock, ${options.vendor}, version ${options.kernelVersion}`,
  open: () => openNvmm({ device: createMock(options) }),
}));

/** Why the real device cannot be opened here; undefined if it can. */
function kernelRefusal(): string | undefined {
  try {
    openNvmm({ device: 'kernel' }).close();
    return undefined;
  } catch (error) {
    if (error instanceof NvmmError) return error.code;
    throw error;
  }
}

/** Defines `suite` once for each device; the real one is skipped by name where it does not open. */
export function onEachDevice(title: string, suite: (device: TestDevice) => void): void {
  for (const device of mocks) {
    describe(`${title} [${device.name}]`, () => {
      suite(device);
    });
  }
  const refusal = kernelRefusal();
  const kernel: TestDevice = { name: 'kernel', open: () => openNvmm({ device: 'kernel' }) };
  if (refusal === undefined) {
    describe(`${title} [kernel]`, () => {
      suite(kernel);
    });
  } else {
    describe.skip(`${title} [kernel: /dev/nvmm does not open here, ${refusal}]`, () => {
      suite(kernel);
    });
  }
}

/** Intel's backend offers the TPR configuration, AMD's does not. */
export const isIntel = (nvmm: Nvmm): boolean => (nvmm.capability.vcpuConfSupport & 2n) !== 0n;
