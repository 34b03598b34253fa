import type { Capability } from '../capability.js';
import { NvmmError } from '../errors.js';
import type { Nvmm } from '../nvmm.js';
import type { Command } from './command.js';
import { DEVICE_OPTIONS, JSON_OPTION, openDevice, VENDOR_OPTIONS } from './device.js';
import { guestCpu, type GuestCpu } from './guest-cpu.js';
import { bits, humanSize, printJson } from './output.js';

const VCPU_CONFIGURATIONS = ['CPUID', 'TPR'];
/** The components of XCR0, by bit. */
const FPU_STATES = [
  'x87',
  'SSE',
  'AVX',
  'BNDREGS',
  'BNDCSR',
  'Opmask',
  'ZMM_Hi256',
  'Hi16_ZMM',
  'PT',
  'PKRU',
  '',
  'CET_U',
  'CET_S',
  'HDC',
  '',
  'LBR',
  'HWP',
];

export const identify: Command = {
  name: 'identify',
  summary: 'Prints what the hypervisor offers, as nvmmctl identify does, and the processor that guests see.',
  description: `Makes a machine for a moment, to ask the processor from inside.`,
  options: { ...DEVICE_OPTIONS, ...VENDOR_OPTIONS, ...JSON_OPTION },
  run(given) {
    using nvmm = openDevice(given);
    const { capability, device } = nvmm;
    const cpu = guestCpuIfFree(nvmm);
    if (given.has('json')) printJson({ device, capability, cpu }, 2);
    else for (const [name, value] of lines(device, capability, cpu)) console.log(`nvmm: ${name} ${value}`);
    return 0;
  },
};

/** The rest is worth printing although all machines are in use. */
function guestCpuIfFree(nvmm: Nvmm): GuestCpu | null {
  try {
    return guestCpu(nvmm);
  } catch (error) {
    if (error instanceof NvmmError && error.code === 'ENOBUFS') return null;
    throw error;
  }
}

function lines(device: string, capability: Capability, cpu: GuestCpu | null): [string, string | number][] {
  return [
    ['Kernel API version', capability.version],
    ['State size', capability.stateSize],
    ['Max machines', capability.maxMachines],
    ['Max VCPUs per machine', capability.maxVcpus],
    ['Max RAM per machine', humanSize(capability.maxRam)],
    ['Arch Mach conf', bits(capability.machConfSupport, [])],
    ['Arch VCPU conf', bits(capability.vcpuConfSupport, VCPU_CONFIGURATIONS)],
    ['Guest FPU states', bits(capability.xcr0Mask, FPU_STATES)],
    ['Guest CPU', cpu === null ? 'unknown (all machines are in use)' : cpuText(cpu)],
    ['Device', device],
  ];
}

const cpuText = ({ vendor, brand, family, model, stepping }: GuestCpu): string => {
  const numbers = `${vendor}, family 0x${family.toString(16)}, model 0x${model.toString(16)}, stepping ${stepping}`;
  return brand === '' ? numbers : `${brand} (${numbers})`;
};
