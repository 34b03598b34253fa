// The two that run the ROM of the system-level tests: the software device, and QEMU without KVM.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ExitReason, openNvmm, Prot, type Vcpu } from 'nvmm';
import { createMock } from 'nvmm/mock';
import { DEBUG_PORT, EXIT_PORT, REGIONS, ROM_BASE, ROM_SIZE } from './rom.js';

const QEMU = 'qemu-system-x86_64';
const RECORD = REGIONS.reduce((sum, [, , length]) => sum + length, 0);
const RAM = 4 << 20;

/** What a case left behind, by region; none where it ended with a triple fault. */
export type Record = ReadonlyMap<string, Uint8Array>;

/** By the number of the case. */
function records(output: Uint8Array): Map<number, Record> {
  const found = new Map<number, Record>();
  for (let at = 0; at + RECORD <= output.length; at += RECORD) {
    const record = new Map<string, Uint8Array>();
    let from = at;
    for (const [name, , length] of REGIONS) {
      record.set(name, output.slice(from, from + length));
      from += length;
    }
    const view = new DataView(output.buffer, output.byteOffset + at);
    if (view.getUint32(0, true) !== 0x45534143) throw new Error(`The record at ${at} does not begin as one.`);
    found.set(view.getUint32(4, true), record);
  }
  return found;
}

/** Whether QEMU is installed. */
export const hasQemu = (): boolean => spawnSync(QEMU, ['--version']).status === 0;

export function runInQemu(rom: Uint8Array): Map<number, Record> {
  const folder = mkdtempSync(join(tmpdir(), 'nvmm-qemu-'));
  try {
    const [image, output] = [join(folder, 'rom.bin'), join(folder, 'output')];
    writeFileSync(image, rom);
    const { status, signal, stderr } = spawnSync(
      QEMU,
      [
        ['-accel', 'tcg', '-machine', 'pc', '-m', '16'],
        ['-cpu', 'max,vendor=AuthenticAMD,family=23,la57=off,pku=off,xsave=off'],
        ['-nodefaults', '-no-user-config', '-display', 'none', '-bios', image],
        ['-chardev', `file,id=debug,path=${output}`, '-device', `isa-debugcon,iobase=${DEBUG_PORT},chardev=debug`],
        ['-device', `isa-debug-exit,iobase=${EXIT_PORT},iosize=4`],
      ].flat(),
      { encoding: 'utf8', timeout: 300_000 },
    );
    const found = records(readFileSync(output));
    const last = Math.max(-1, ...found.keys());
    if (status === 1) return found; // isa-debug-exit of 0
    throw new Error(`${QEMU} ended with ${status ?? signal} after case ${last}: ${stderr}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The same on the software device. */
export function runInMock(rom: Uint8Array, vendor: 'amd' | 'intel'): Map<number, Record> {
  using nvmm = openNvmm({ device: createMock({ vendor, timeSlice: 10_000_000 }) });
  using machine = nvmm.createMachine();
  const ram = machine.allocate(RAM);
  const high = machine.allocate(ROM_SIZE);
  high.bytes.set(rom);
  machine.mapGpa(ram, 0, { size: 0xa0000 });
  machine.mapGpa(ram, 0x100000, { offset: 0x100000, size: RAM - 0x100000 });
  for (const at of [ROM_BASE, 2 ** 32 - ROM_SIZE]) machine.mapGpa(high, at, { prot: Prot.READ | Prot.EXEC });
  const output: number[] = [];
  const debug = { ended: false };
  const reset = (): Vcpu => {
    const vcpu = machine.createVcpu(0);
    vcpu.configureCallbacks({
      io: ({ port, in: input, data }) => {
        if (!input && port === DEBUG_PORT) output.push(...data);
        if (!input && port === EXIT_PORT) debug.ended = true;
      },
    });
    return vcpu;
  };
  let vcpu = reset();
  while (!debug.ended) {
    const reason = vcpu.run();
    if (reason === ExitReason.IO) {
      vcpu.assistIo();
    } else if (reason === ExitReason.SHUTDOWN) {
      vcpu.destroy();
      vcpu = reset();
    } else {
      const number = new DataView(ram.bytes.buffer, ram.bytes.byteOffset).getUint32(0x604, true);
      throw new Error(`Case ${number} does not end, or not well: exit ${reason}\n${vcpu.dump()}`);
    }
  }
  return records(Uint8Array.from(output));
}
