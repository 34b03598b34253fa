// A guest prints through a serial port, one byte an exit, and halts.
import { ExitReason, exitReasonName, Gpr, openNvmm, Seg, StateFlag } from 'nvmm';
import { hello } from './hello.guest.js';

const SERIAL_PORT = 0x3f8;

// The best device of this host: the kernel's if it opens, else the software one.
using nvmm = openNvmm({ device: 'auto' });
using machine = nvmm.createMachine();

// One page of memory, with the program in it, where the guest expects it.
const memory = machine.allocate(4096);
memory.bytes.set(hello.bytes);
machine.mapGpa(memory, hello.origin);

// A new VCPU stands at the reset vector of a PC; ours starts at the program, with code addresses counted from 0.
const vcpu = machine.createVcpu(0);
vcpu.getState(StateFlag.SEGS | StateFlag.GPRS);
vcpu.state.segs[Seg.CS]!.set({ selector: 0, base: 0n });
vcpu.state.gprs[Gpr.RIP] = BigInt(hello.origin);
vcpu.setState(StateFlag.SEGS | StateFlag.GPRS);

const exits = new Map<string, number>();
let text = '';
for (let running = true; running;) {
  const reason = vcpu.run();
  exits.set(exitReasonName(reason), (exits.get(exitReasonName(reason)) ?? 0) + 1);
  switch (reason) {
    case ExitReason.IO:
      // The exit comes before the OUT: take AL, and go on behind it. Registers and npc came with the exit.
      if (vcpu.exit.io.port === SERIAL_PORT && !vcpu.exit.io.in)
        text += String.fromCharCode(vcpu.state.gprs32[2 * Gpr.RAX]! & 0xff);
      vcpu.state.gprs[Gpr.RIP] = vcpu.exit.io.npc;
      vcpu.setState(StateFlag.GPRS);
      break;
    case ExitReason.HALTED:
      running = false;
      break;
    case ExitReason.NONE:
      break; // the host needed the processor: run again
    default:
      throw new Error(`The guest stopped with ${exitReasonName(reason)}:\n${vcpu.dump()}`);
  }
}

process.stdout.write(text);
console.log(`(ran on: ${nvmm.device}; exits: ${[...exits].map(([name, count]) => `${count} ${name}`).join(', ')})`);
