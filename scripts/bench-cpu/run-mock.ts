// Runs the ROM named by the argument on the mock, with a handler of port output as a frontend has. Behind each line of the
// guest stands how many instructions it has executed.
import { readFileSync, writeSync } from 'node:fs';
import { ExitReason, Gpr, openNvmm, StateFlag } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { CONSOLE_PORT, ROM_ADDRESSES, ROM_SIZE } from './rom.js';

const system = createMock();
const machine = openNvmm({ device: system }).createMachine();
machine.mapGpa(machine.allocate(ROM_ADDRESSES[0]!), 0);
machine.mapGpa(machine.allocate(7 * 2 ** 20), 2 ** 20);
const rom = machine.allocate(ROM_SIZE);
rom.bytes.set(readFileSync(process.argv[2]!));
for (const address of ROM_ADDRESSES) machine.mapGpa(rom, address);

let line = '';
let sum = 0;
function write(port: number, value: number): void {
  if (port !== CONSOLE_PORT) {
    sum = (sum + value) | 0;
    return;
  }
  const character = String.fromCharCode(value);
  if (character !== '\n') {
    line += character;
    return;
  }
  writeSync(1, `${line} ${system.counters().instructions}\n`);
  if (line === 'end') process.exit();
  line = '';
}

const vcpu = machine.createVcpu(0); // at the reset vector
const { exit, state } = vcpu;
for (;;) {
  const reason = vcpu.run();
  if (reason === ExitReason.NONE) continue;
  if (reason !== ExitReason.IO) throw new Error(`unexpected exit:\n${vcpu.dump()}`);
  write(exit.io.port, state.gprs32[2 * Gpr.RAX]! & 0xff);
  state.gprs[Gpr.RIP] = exit.io.npc;
  vcpu.setState(StateFlag.GPRS);
}
