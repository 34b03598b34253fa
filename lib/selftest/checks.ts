// A quick look at whether a device does what this library needs, through the public interface: a few guests, each of which uses
// one thing. The golden scenarios hold the driver against recordings; these say whether programs will work.
import assert from 'node:assert/strict';
import { ExitReason, exitReasonName } from '../exit.js';
import type { Machine } from '../machine.js';
import { Prot, type HostMemory } from '../memory.js';
import type { Nvmm } from '../nvmm.js';
import type { Vcpu } from '../vcpu.js';
import {
  enterLongMode,
  enterProtectedMode,
  enterRealMode,
  IDENTITY_TABLES_SIZE,
  writeIdentityTables,
} from '../x86/modes.js';
import { Gpr, StateFlag } from '../x86/registers.js';

export interface Check {
  readonly name: string;
  /** Throws what is not as it should be. */
  run(bench: Bench): void | Promise<void>;
}

const PAGE = 4096;
const RAM = 0x1_0000;
/** Where the guests begin, have their data and their page tables. */
const CODE = 0x1000;
const DATA = 0x2000;
const TABLES = 0x10_0000;
/** Far from all memory. */
const NOWHERE = 0x8000_0000;
/** A guest that does not end within this has hung. */
const PATIENCE_MS = 30_000;

/** A machine with some memory, for one check. */
export class Bench implements Disposable {
  readonly machine: Machine;
  readonly memory: HostMemory;

  constructor(nvmm: Nvmm) {
    this.machine = nvmm.createMachine();
    this.memory = this.machine.allocate(RAM);
    this.machine.mapGpa(this.memory, 0);
  }

  /** A VCPU before the instructions in `hex`, which it finds at `at`. */
  vcpu(
    hex: string,
    { id = 0, mode = 'real', at = CODE }: { id?: number; mode?: keyof typeof ENTER; at?: number } = {},
  ): Vcpu {
    this.memory.bytes.set(Buffer.from(hex.replaceAll(' ', ''), 'hex'), at);
    const vcpu = this.machine.createVcpu(id);
    ENTER[mode](this.machine, vcpu, at);
    vcpu.state.gprs[Gpr.RSP] = BigInt(RAM - 16);
    vcpu.setState(StateFlag.GPRS);
    return vcpu;
  }

  [Symbol.dispose](): void {
    this.machine.destroy();
  }
}

const ENTER = {
  real: (_: Machine, vcpu: Vcpu, rip: number): void => {
    enterRealMode(vcpu, rip);
  },
  protected: (_: Machine, vcpu: Vcpu, rip: number): void => {
    enterProtectedMode(vcpu, rip);
  },
  long: (machine: Machine, vcpu: Vcpu, rip: number): void => {
    const tables = machine.allocate(IDENTITY_TABLES_SIZE);
    writeIdentityTables(tables.bytes, TABLES);
    machine.mapGpa(tables, TABLES);
    enterLongMode(vcpu, rip, TABLES);
  },
};

/** Runs on the VCPU's thread, so that a guest that hangs is an error, until something happens. */
async function runTo(vcpu: Vcpu, expected: number): Promise<void> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  let reason: number;
  do reason = await vcpu.runAsync({ signal });
  while (reason === ExitReason.NONE);
  assert.equal(exitReasonName(reason), exitReasonName(expected), 'the exit');
}

async function registersAfterHalt(vcpu: Vcpu): Promise<BigUint64Array> {
  await runTo(vcpu, ExitReason.HALTED);
  vcpu.getState(StateFlag.GPRS);
  return vcpu.state.gprs;
}

const HLT = 'f4';
const SPIN = 'ebfe';

export const CHECKS: readonly Check[] = [
  {
    name: 'a 16-bit guest computes: 6 * 7',
    async run(bench) {
      const gprs = await registersAfterHalt(bench.vcpu(`b80600 b90700 f7e1 ${HLT}`)); // mov ax, 6; mov cx, 7; mul cx
      assert.equal(gprs[Gpr.RAX]! & 0xffffn, 42n);
    },
  },
  {
    name: 'a 32-bit guest computes: 6 * 7',
    async run(bench) {
      const vcpu = bench.vcpu(`b806000000 b907000000 f7e1 ${HLT}`, { mode: 'protected' });
      assert.equal((await registersAfterHalt(vcpu))[Gpr.RAX], 42n);
    },
  },
  {
    name: 'a 64-bit guest computes: 2^40 * 2^20',
    async run(bench) {
      const vcpu = bench.vcpu(`48b80000000000010000 48c1e014 ${HLT}`, { mode: 'long' }); // mov rax, 2^40; shl rax, 20
      assert.equal((await registersAfterHalt(vcpu))[Gpr.RAX], 1n << 60n);
    },
  },
  {
    name: 'the synchronous run does the same',
    run(bench) {
      const vcpu = bench.vcpu(`b82a00 ${HLT}`); // mov ax, 42
      let reason: number;
      do reason = vcpu.run();
      while (reason === ExitReason.NONE);
      assert.equal(exitReasonName(reason), 'HALTED');
    },
  },
  {
    name: 'guest and host see the same memory',
    async run(bench) {
      bench.memory.bytes[DATA] = 41;
      await runTo(bench.vcpu(`fe060020 ${HLT}`), ExitReason.HALTED); // inc byte [0x2000]
      assert.equal(bench.memory.bytes[DATA], 42);
    },
  },
  {
    name: 'an access outside all memory exits with its address',
    async run(bench) {
      const vcpu = bench.vcpu(`a300000080 ${HLT}`, { mode: 'protected' }); // mov [0x80000000], eax
      await runTo(vcpu, ExitReason.MEMORY);
      assert.deepEqual([vcpu.exit.mem.gpa, vcpu.exit.mem.prot], [NOWHERE, Prot.WRITE]);
    },
  },
  {
    name: 'a write to read-only memory exits',
    async run(bench) {
      const rom = bench.machine.allocate(PAGE);
      bench.machine.mapGpa(rom, RAM, { prot: Prot.READ | Prot.EXEC });
      const vcpu = bench.vcpu(`a100000100 a300000100 ${HLT}`, { mode: 'protected' }); // mov eax, [0x10000]; mov [0x10000], eax
      await runTo(vcpu, ExitReason.MEMORY);
      assert.deepEqual([vcpu.exit.mem.gpa, vcpu.exit.mem.prot], [RAM, Prot.WRITE]);
    },
  },
  {
    name: 'memory that is unmapped is gone for the guest',
    async run(bench) {
      const extra = bench.machine.allocate(PAGE);
      bench.machine.mapGpa(extra, RAM);
      const vcpu = bench.vcpu(`a000000100 ${HLT} a000000100 ${HLT}`, { mode: 'protected' }); // mov al, [0x10000], twice
      await runTo(vcpu, ExitReason.HALTED);
      bench.machine.unmapGpa(RAM);
      await runTo(vcpu, ExitReason.MEMORY);
    },
  },
  {
    name: 'ports: OUT, IN and REP OUTSB through the assist',
    async run(bench) {
      const written: number[] = [];
      bench.memory.bytes.set(Buffer.from('nvmm'), DATA);
      // in al, 0x10; out 0x11, al; mov si, 0x2000; mov cx, 4; mov dx, 0x12; cld; rep outsb
      const vcpu = bench.vcpu(`e410 e611 be0020 b90400 ba1200 fc f36e ${HLT}`);
      vcpu.configureCallbacks({
        io: ({ in: isRead, data }) => {
          if (isRead) data[0] = 0x5a;
          else written.push(...data);
        },
      });
      for (;;) {
        const reason = await vcpu.runAsync({ signal: AbortSignal.timeout(PATIENCE_MS) });
        if (reason === ExitReason.HALTED) break;
        if (reason === ExitReason.NONE) continue;
        assert.equal(exitReasonName(reason), 'IO');
        vcpu.assistIo();
      }
      assert.equal(Buffer.from(written).toString(), '\x5anvmm');
    },
  },
  {
    name: 'memory-mapped devices through the assist',
    async run(bench) {
      const vcpu = bench.vcpu(`a100000080 ${HLT}`, { mode: 'protected' }); // mov eax, [0x80000000]
      vcpu.configureCallbacks({
        mem: ({ gpa, data }) => {
          assert.equal(gpa, NOWHERE);
          data.set([0x78, 0x56, 0x34, 0x12]);
        },
      });
      await runTo(vcpu, ExitReason.MEMORY);
      vcpu.assistMem();
      assert.equal((await registersAfterHalt(vcpu))[Gpr.RAX], 0x1234_5678n);
    },
  },
  {
    name: 'guest-virtual addresses are translated',
    async run(bench) {
      const vcpu = bench.vcpu(HLT, { mode: 'long' });
      await runTo(vcpu, ExitReason.HALTED);
      assert.equal(vcpu.gvaToGpa(BigInt(DATA) + 5n).gpa, DATA + 5);
    },
  },
  {
    name: 'an injected interrupt reaches its handler',
    async run(bench) {
      bench.memory.bytes.set(Uint8Array.of(0x00, 0x11, 0, 0), 4 * 0x21); // vector 21h: 0000:1100
      bench.memory.bytes.set(Buffer.from(`b82a00${HLT}`, 'hex'), 0x1100); // mov ax, 42; hlt
      const vcpu = bench.vcpu(`fb 90 ${SPIN}`); // sti; nop; jmp $
      vcpu.getState(StateFlag.GPRS);
      vcpu.state.gprs[Gpr.RFLAGS] = 0x202n;
      vcpu.setState(StateFlag.GPRS);
      vcpu.inject({ type: 'INTR', vector: 0x21 });
      assert.equal((await registersAfterHalt(vcpu))[Gpr.RAX]! & 0xffffn, 42n);
    },
  },
  {
    name: 'CPUID is masked',
    async run(bench) {
      const vcpu = bench.vcpu(`66b801000000 0fa2 ${HLT}`); // mov eax, 1; cpuid
      vcpu.configureCpuid({ leaf: 1, mask: { set: { ecx: 0x8000_0000 }, del: { edx: 0xffff_ffff } } });
      const gprs = await registersAfterHalt(vcpu);
      assert.equal(gprs[Gpr.RCX]! & 0x8000_0000n, 0x8000_0000n, 'the bit that was set');
      assert.equal(gprs[Gpr.RDX], 0n, 'the bits that were deleted');
    },
  },
  {
    name: 'an unknown MSR exits',
    async run(bench) {
      const vcpu = bench.vcpu(`66b978563412 0f32 ${HLT}`); // mov ecx, 0x12345678; rdmsr
      await runTo(vcpu, ExitReason.RDMSR);
      assert.equal(vcpu.exit.rdmsr.msr, 0x1234_5678);
      vcpu.completeRdmsr(42n);
      assert.equal((await registersAfterHalt(vcpu))[Gpr.RAX], 42n);
    },
  },
  {
    name: 'a triple fault is reported',
    async run(bench) {
      // lidt [0x2000], a table of length 0; ud2
      await runTo(bench.vcpu('0f011e0020 0f0b'), ExitReason.SHUTDOWN);
    },
  },
  {
    name: 'a stop ends a guest that spins',
    async run(bench) {
      const vcpu = bench.vcpu(SPIN);
      const timer = setTimeout(() => {
        vcpu.stop();
      }, 10);
      await runTo(vcpu, ExitReason.STOPPED);
      clearTimeout(timer);
    },
  },
  {
    name: 'an AbortSignal ends a guest that spins',
    async run(bench) {
      const vcpu = bench.vcpu(SPIN);
      const signal = AbortSignal.timeout(10);
      const run = async (): Promise<void> => {
        while ((await vcpu.runAsync({ signal })) === ExitReason.NONE);
      };
      await assert.rejects(run, { name: 'TimeoutError' });
    },
  },
  {
    name: 'two VCPUs run at once, on the same memory',
    async run(bench) {
      // The first waits for the second: mov al, [0x2000]; test al, al; jz back; hlt
      const waiting = bench.vcpu(`a00020 84c0 74f9 ${HLT}`);
      const other = bench.vcpu(`c606002001 ${HLT}`, { id: 1, at: 0x1800 }); // mov byte [0x2000], 1
      const both = [runTo(waiting, ExitReason.HALTED), runTo(other, ExitReason.HALTED)];
      await Promise.all(both);
    },
  },
  {
    name: 'destroying a machine while it runs gives everything back',
    async run(bench) {
      const vcpu = bench.vcpu(SPIN);
      const running = vcpu.runAsync();
      bench.machine.destroy();
      await assert.rejects(running, { code: 'ENOENT' });
      const { bytes } = bench.memory;
      bench.memory.free();
      assert.equal(bytes.length, 0);
    },
  },
];

/** Runs a check on a machine of its own. @returns what is not as it should be; undefined if all is. */
export async function runCheck(nvmm: Nvmm, check: Check): Promise<string | undefined> {
  try {
    using bench = new Bench(nvmm);
    await check.run(bench);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
