// The loop that README shows, on a guest that only writes to a port.
import { ExitReason, Gpr, openNvmm, Seg, StateFlag, type Machine, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';

export const OUT_LOOP = [0xe6, 0x10, 0xeb, 0xfc]; // out 0x10, al; jmp back
export const HLT_LOOP = [0xf4, 0xeb, 0xfd];
export const SPIN = [0xeb, 0xfe];

export const newMachine = (system = createMock()): Machine => openNvmm({ device: system }).createMachine();

/** A VCPU of a guest in a mock system of its own, or of `machine`'s. */
export function guestOf(code: number[], machine = newMachine(), id = 0): Vcpu {
  if (machine.areas.length === 0) {
    const memory = machine.allocate(4096);
    memory.bytes.set(code);
    machine.mapGpa(memory, 0x1000);
  }
  const made = machine.createVcpu(id);
  made.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
  made.state.gprs[Gpr.RIP] = 0x1000n;
  made.setState(StateFlag.SEGS | StateFlag.GPRS);
  return made;
}

let sum = 0;
const handlePort = (port: number, value: number): void => {
  sum = (sum + port + (value & 0xff)) | 0;
};

/** Handles so many exits of OUT_LOOP. */
export function handleExits(vcpu: Vcpu, count: number): void {
  for (let i = 0; i < count;) {
    const reason = vcpu.run();
    if (reason === ExitReason.NONE) continue;
    if (reason !== ExitReason.IO) throw new Error(`unexpected exit:\n${vcpu.dump()}`);
    handlePort(vcpu.exit.io.port, vcpu.state.gprs32[2 * Gpr.RAX]!);
    vcpu.state.gprs[Gpr.RIP] = vcpu.exit.io.npc;
    vcpu.setState(StateFlag.GPRS);
    i++;
  }
}
