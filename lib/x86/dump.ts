import type { VcpuState } from '../state.js';
import { Cr, Gpr, Msr, Seg } from './registers.js';

const GPR_ORDER = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'RIP', 'RFLAGS'] as const;
const CR_ORDER = ['CR0', 'CR3', 'CR4', 'CR8'] as const;

/** The registers in nvmm_vcpu_dump's form. */
export function dump(id: number, state: VcpuState): string {
  const line = (name: string, value: bigint): string => `| -> ${name}=${value.toString(16)}`;
  const segments = Object.entries(Seg).map(([name, index]) => {
    const { selector, base, limit, attrib, attributes } = state.segs[index]!;
    const hidden = `base=${base.toString(16)}, limit=${limit.toString(16)}, attrib=${attrib.toString(16)}`;
    const { type, l, def } = attributes;
    return `| -> ${name}: sel=0x${selector.toString(16)} ${hidden} [type=${type},l=${l},def=${def}]`;
  });
  return [
    `+ VCPU id=${id}`,
    ...GPR_ORDER.map((name) => line(name, state.gprs[Gpr[name]]!)),
    ...segments,
    line('MSR_EFER', state.msrs[Msr.EFER]!),
    ...CR_ORDER.map((name) => line(name, state.crs[Cr[name]]!)),
  ].join('\n');
}
