// Which device a command works on.
import { openNvmm, type Nvmm } from '../nvmm.js';
import { createMock } from '../mock-system.js';
import { UsageError, type Given, type Option } from './command.js';

export const DEVICE_OPTIONS = {
  device: {
    argument: 'DEVICE',
    help: "kernel: /dev/nvmm. mock: the software device. auto: the kernel's if it\nopens, else the mock. Default: $NVMM_DEVICE, else kernel",
  },
} as const satisfies Record<string, Option>;

export const VENDOR_OPTIONS = {
  vendor: { argument: 'VENDOR', help: 'the processor of the mock: amd (the default) or intel' },
} as const satisfies Record<string, Option>;

export const JSON_OPTION = { json: { help: 'JSON instead of text' } } as const satisfies Record<string, Option>;

const DEVICES = ['kernel', 'mock', 'auto'] as const;
export type DeviceName = (typeof DEVICES)[number];
export type Vendor = 'amd' | 'intel';

export function deviceName(given: Given): DeviceName {
  const chosen = given.oneOf('device', DEVICES);
  if (chosen !== undefined) return chosen;
  const fromEnvironment = process.env['NVMM_DEVICE'] ?? '';
  const known = fromEnvironment === '' ? 'kernel' : DEVICES.find((name) => name === fromEnvironment);
  if (known === undefined) {
    throw new UsageError(
      `The environment variable NVMM_DEVICE is one of ${DEVICES.join(', ')}, not "${fromEnvironment}".`,
    );
  }
  return known;
}

export const vendorOf = (given: Given): Vendor | undefined => given.oneOf('vendor', ['amd', 'intel']);

/** Opens what --device and --vendor name. @throws NvmmError */
export function openDevice(given: Given, how: { root?: boolean } = {}): Nvmm {
  const device = deviceName(given);
  const vendor = vendorOf(given);
  if (vendor === undefined) return openNvmm({ ...how, device });
  if (device !== 'mock') throw new UsageError('--vendor chooses the processor of the mock: add --device mock.');
  return openNvmm({ ...how, device: createMock({ vendor }) });
}
