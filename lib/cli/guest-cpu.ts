// The processor as guests see it: a guest of three bytes asks.
import { ExitReason } from '../exit.js';
import type { Nvmm } from '../nvmm.js';
import { Gpr, Seg, StateFlag } from '../x86/registers.js';

export interface GuestCpu {
  /** 'AuthenticAMD', 'GenuineIntel'. */
  readonly vendor: string;
  /** The brand string; empty if there is none. */
  readonly brand: string;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
}

const CODE = 0x1000;
const CPUID_HLT = [0x0f, 0xa2, 0xf4];

type Leaf = readonly [eax: number, ebx: number, ecx: number, edx: number];

/** @throws NvmmError if no machine can be made. */
export function guestCpu(nvmm: Nvmm): GuestCpu {
  using machine = nvmm.createMachine();
  using memory = machine.allocate(4096);
  memory.bytes.set(CPUID_HLT);
  machine.mapGpa(memory, CODE);
  using vcpu = machine.createVcpu(0);
  const { gprs, gprs32, segs } = vcpu.state;
  segs[Seg.CS]!.set({ selector: 0, base: 0n });
  vcpu.setState(StateFlag.SEGS);

  const cpuid = (leaf: number): Leaf => {
    vcpu.getState(StateFlag.GPRS);
    gprs[Gpr.RIP] = BigInt(CODE);
    gprs[Gpr.RAX] = BigInt(leaf);
    gprs[Gpr.RCX] = 0n;
    vcpu.setState(StateFlag.GPRS);
    let reason: number;
    do reason = vcpu.run();
    while (reason === ExitReason.NONE);
    if (reason !== ExitReason.HALTED) throw new Error(`CPUID ended in exit ${reason}.`);
    vcpu.getState(StateFlag.GPRS);
    const register = (index: number): number => gprs32[2 * index]!;
    return [register(Gpr.RAX), register(Gpr.RBX), register(Gpr.RCX), register(Gpr.RDX)];
  };

  const [, ebx, ecx, edx] = cpuid(0);
  const [signature] = cpuid(1);
  const [maxExtended] = cpuid(0x8000_0000);
  const brand = maxExtended >= 0x8000_0004 ? [2, 3, 4].flatMap((leaf) => cpuid(0x8000_0000 + leaf)) : [];
  const baseFamily = (signature >>> 8) & 15;
  return {
    vendor: text([ebx, edx, ecx]),
    brand: text(brand),
    family: baseFamily + (baseFamily === 15 ? (signature >>> 20) & 0xff : 0),
    model: ((signature >>> 4) & 15) + (baseFamily === 6 || baseFamily === 15 ? ((signature >>> 16) & 15) << 4 : 0),
    stepping: signature & 15,
  };
}

/** The characters of registers, up to the first NUL. */
function text(words: readonly number[]): string {
  const bytes = Buffer.from(Uint32Array.from(words).buffer);
  return bytes.toString('latin1').split('\0')[0]!.trim();
}
