// Runs a routine that is not trusted in a virtual machine of its own: 64-bit code, some memory, one port, limits.
import {
  Cr,
  ExitReason,
  exitReasonName,
  Gpr,
  Msr,
  Prot,
  Seg,
  StateFlag,
  type Machine,
  type Nvmm,
  type Vcpu,
} from 'nvmm';

/** What the routine writes to the port, as EAX. */
const Call = { RESULT: 1, LOG: 2, ERROR: 3 } as const;
const PORT = 0x10;

/** What is where in the guest. The code can't be changed by it, nor can the input. */
const STACK = { gpa: 0x20_0000, size: 0x1_0000 };
const INPUT = { gpa: 0x40_0000, size: 0x1_0000 };
const TABLES = { gpa: 0x60_0000, size: 0x3000 };
const LONGEST_LOG = 1000;

/** The routine was ended, or has given up. */
export class SandboxError extends Error {
  override readonly name = 'SandboxError';
}

export interface Routine {
  readonly origin: number;
  readonly bytes: Uint8Array;
}

export interface Limits {
  /** Ends the routine: its reason is the error then. */
  readonly signal?: AbortSignal;
  /** Exits to the host; 1000 unless given. */
  readonly exits?: number;
  /** Gets what the routine logs. */
  readonly log?: (text: string) => void;
}

/**
 * Calls `routine(input, length)` in a machine that exists for this call only.
 *
 * @returns its result, a signed 64-bit integer.
 * @throws SandboxError if the routine reports an error, or does what it must not; the signal's reason if that ends it.
 */
export async function callUntrusted(
  nvmm: Nvmm,
  routine: Routine,
  input: Uint8Array,
  limits: Limits = {},
): Promise<bigint> {
  if (input.length > INPUT.size) throw new SandboxError(`The input is longer than ${INPUT.size} bytes.`);
  using machine = nvmm.createMachine();
  const vcpu = prepare(machine, routine, input);
  const { signal, exits = 1000, log = () => undefined } = limits;
  for (let count = 0; count < exits;) {
    const reason = await vcpu.runAsync(signal === undefined ? {} : { signal });
    if (reason === ExitReason.NONE) continue;
    count++;
    if (reason !== ExitReason.IO) throw new SandboxError(describe(vcpu, reason));
    const call = takeCall(vcpu);
    switch (call.number) {
      case Call.RESULT:
        return BigInt.asIntN(64, call.first);
      case Call.LOG:
        log(readText(vcpu, call));
        break;
      case Call.ERROR:
        throw new SandboxError(readText(vcpu, call));
      default:
        throw new SandboxError(`The routine made a call that does not exist: ${call.number}.`);
    }
  }
  throw new SandboxError(`The routine was ended after ${exits} exits.`);
}

function prepare(machine: Machine, { origin, bytes }: Routine, input: Uint8Array): Vcpu {
  const map = (gpa: number, size: number, prot: number, content?: Uint8Array): Uint8Array => {
    const memory = machine.allocate(Math.ceil(size / 4096) * 4096);
    if (content !== undefined) memory.bytes.set(content);
    machine.mapGpa(memory, gpa, { prot });
    return memory.bytes;
  };
  map(origin, bytes.length, Prot.READ | Prot.EXEC, bytes);
  map(STACK.gpa, STACK.size, Prot.READ | Prot.WRITE);
  map(INPUT.gpa, INPUT.size, Prot.READ, input);
  // The processor marks in the page tables what was used. A guest that changes them finds no more memory than there is.
  writePageTables(map(TABLES.gpa, TABLES.size, Prot.READ | Prot.WRITE));

  const vcpu = machine.createVcpu(0);
  enterLongMode(vcpu);
  const { gprs } = vcpu.state;
  gprs[Gpr.RIP] = BigInt(origin);
  gprs[Gpr.RSP] = BigInt(STACK.gpa + STACK.size);
  gprs[Gpr.RDI] = BigInt(INPUT.gpa);
  gprs[Gpr.RSI] = BigInt(input.length);
  vcpu.setState(StateFlag.GPRS);
  return vcpu;
}

/** The first GiB at its own addresses, in pages of 2 MiB, of which little is memory. */
function writePageTables(bytes: Uint8Array): void {
  const entries = new BigUint64Array(bytes.buffer, bytes.byteOffset, TABLES.size / 8);
  const [present, writable, large] = [1n, 2n, 0x80n];
  entries[0] = BigInt(TABLES.gpa + 0x1000) | present | writable;
  entries[512] = BigInt(TABLES.gpa + 0x2000) | present | writable;
  for (let i = 0; i < 512; i++) entries[1024 + i] = (BigInt(i) << 21n) | present | writable | large;
}

/** Flat segments, paging on, and no table of interrupts: whatever the routine does wrong ends the machine. */
function enterLongMode(vcpu: Vcpu): void {
  vcpu.getState(StateFlag.ALL);
  const { segs, crs, msrs } = vcpu.state;
  const flat = { base: 0n, limit: 0xffff_ffff, s: 1, p: 1, dpl: 0, g: 1 };
  segs[Seg.CS]!.set({ ...flat, selector: 8, type: 11, l: 1, def: 0 });
  for (const seg of [Seg.SS, Seg.DS, Seg.ES]) segs[seg]!.set({ ...flat, selector: 16, type: 3, l: 0, def: 1 });
  segs[Seg.TR]!.set({ type: 11 });
  segs[Seg.IDT]!.set({ limit: 0 });
  crs[Cr.CR0] = 0x8000_0031n; // PG, NE, ET, PE
  crs[Cr.CR3] = BigInt(TABLES.gpa);
  crs[Cr.CR4] = 0x20n; // PAE
  msrs[Msr.EFER] = 0x500n; // LMA, LME
  vcpu.setState(StateFlag.SEGS | StateFlag.CRS | StateFlag.MSRS);
}

interface HyperCall {
  readonly number: number;
  readonly first: bigint;
  readonly second: bigint;
}

/** The call of an IO exit, whose instruction is completed. */
function takeCall(vcpu: Vcpu): HyperCall {
  const { io } = vcpu.exit;
  if (io.port !== PORT || io.in || io.str) throw new SandboxError(`The routine used port 0x${io.port.toString(16)}.`);
  const { gprs, gprs32 } = vcpu.state;
  const call = { number: gprs32[2 * Gpr.RAX]!, first: gprs[Gpr.RDI]!, second: gprs[Gpr.RSI]! };
  vcpu.skipInstruction();
  return call;
}

/** The text that a call points to: nothing that the guest says of addresses and lengths is taken at its word. */
function readText(vcpu: Vcpu, { first: address, second: length }: HyperCall): string {
  if (length > BigInt(LONGEST_LOG)) throw new SandboxError(`The routine wrote a text of ${length} bytes.`);
  try {
    return Buffer.from(vcpu.readVirtual(address, Number(length))).toString('latin1');
  } catch (cause) {
    throw new SandboxError('The routine wrote a text from where it has no memory.', { cause });
  }
}

function describe(vcpu: Vcpu, reason: number): string {
  switch (reason) {
    case ExitReason.MEMORY: {
      const verb = vcpu.exit.mem.prot === Prot.WRITE ? 'wrote' : vcpu.exit.mem.prot === Prot.READ ? 'read' : 'ran into';
      return `The routine ${verb} 0x${vcpu.exit.mem.gpa.toString(16)}, which it may not.`;
    }
    case ExitReason.SHUTDOWN:
      return 'The routine crashed.';
    case ExitReason.HALTED:
      return 'The routine returned without a result.';
    default:
      return `The routine was ended: ${exitReasonName(reason)}.`;
  }
}
