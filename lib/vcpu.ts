import { inspect } from 'node:util';
import { abortSignal, boolean, callback, integer, options } from './arguments.js';
import { Coalescer, type Coalescing, type MemoryCoalescing, type PortCoalescing } from './coalescing.js';
import { check, NvmmError, requestError } from './errors.js';
import { checkEvent, EventSlot, type VcpuEvent } from './event.js';
import { exitChannel, runChannel, type ExitMessage, type RunMessage } from './diagnostics.js';
import { errnoName, errnoNumber } from './errno.js';
import { Exit, ExitReason } from './exit.js';
import type { Machine } from './machine.js';
import type { Errno, NativeVcpu } from './native.js';
import { VcpuState } from './state.js';
import { readStats, STATUS_BUSY, STATUS_DESTROYED, type VcpuStats } from './stats.js';
import { COMM, CONF_CPUID, CONF_CPUID_SIZE, CONF_TPR_SIZE } from './x86/layout.js';
import { Assists, type GuestPhysical } from './x86/assists.js';
import type { Callbacks } from './x86/callbacks.js';
import { dump } from './x86/dump.js';
import { StateFlag } from './x86/registers.js';

const ENOENT = errnoNumber('ENOENT');
const EBUSY = errnoNumber('EBUSY');

// Constants for the compiler, unlike imports: see x86/words.ts.
const BUSY: number = STATUS_BUSY;
const DESTROYED: number = STATUS_DESTROYED;
const CACHED: number = COMM.state_cached / 4;
const COMMIT: number = COMM.state_commit / 4;
const ALL: number = StateFlag.ALL;
const onRun = runChannel;
const onExit = exitChannel;

// What a run that goes on says when coalesced writes wait.
const WRITES_WAIT = -1;

const CONF_CPUID_OP = 200;
const CONF_TPR_OP = 201;

/** 32-bit registers of a CPUID leaf; those that are not named are 0. */
export interface CpuidRegisters {
  eax?: number;
  ebx?: number;
  ecx?: number;
  edx?: number;
}

/** What `vcpu.configureCpuid` does with one leaf. Neither `mask` nor `exit` removes the leaf's entry. */
export interface CpuidConfiguration {
  /** The leaf, 32 bits; subleaves are not told apart. */
  leaf: number;
  /** Clears the bits of `del`, then sets those of `set`, in the driver's answer. */
  mask?: { set?: CpuidRegisters; del?: CpuidRegisters };
  /** Ends the run with ExitReason.CPUID instead of answering. */
  exit?: boolean;
}

/** Runs that are under way keep their VCPU from being collected: what they report to holds it weakly. */
const underWay = new Set<Vcpu>();

/**
 * A virtual processor: `struct nvmm_vcpu`, from `machine.createVcpu()`.
 *
 * While it runs, nothing of it can be fetched, changed or configured: EBUSY answers at once. Only {@link stop} and
 * {@link destroy} are for that time.
 */
export class Vcpu implements Disposable {
  readonly machine: Machine;
  readonly id: number;
  /** The registers, on the page that the driver shares. */
  readonly state: VcpuState;
  /** The result of the last run. */
  readonly exit: Exit;
  readonly #native: NativeVcpu;
  readonly #run: () => undefined | Errno;
  readonly #comm: Uint32Array;
  readonly #reason: Int32Array;
  readonly #status: Uint32Array;
  readonly #event: EventSlot;
  readonly #onDestroy: () => void;
  readonly #completed: (error: Errno) => void;
  #pending: { resolve: (reason: number) => void; reject: (error: unknown) => void } | undefined;
  // What a delivery of coalesced writes has thrown, during the run that is under way.
  #thrown: { readonly error: unknown } | undefined;
  // The stop of the run that is under way which its signal, or such a delivery, has asked for.
  #ownStop = 0;
  #coalescer: Coalescer | undefined;
  #assists: Assists | undefined;
  #destroyed = false;

  /** @internal */
  constructor(machine: Machine, id: number, native: NativeVcpu, onDestroy: () => void) {
    this.machine = machine;
    this.id = id;
    this.#native = native;
    this.#run = native.run;
    this.state = new VcpuState(native.comm, COMM.state);
    this.exit = new Exit(native.exit);
    this.#comm = new Uint32Array(native.comm);
    this.#reason = new Int32Array(native.exit);
    this.#status = new Uint32Array(native.status);
    this.#event = new EventSlot(native.comm);
    this.#onDestroy = onDestroy;
    const weak = new WeakRef(this);
    this.#completed = (error) => {
      const vcpu = weak.deref();
      if (vcpu !== undefined) vcpu.#complete(error);
    };
  }

  /** Whether {@link destroy} has been called, on any thread. */
  get destroyed(): boolean {
    return this.#destroyed || this.#status[STATUS_DESTROYED] !== 0;
  }

  /** An asynchronous run is under way, or another thread runs the VCPU. */
  get running(): boolean {
    return this.#status[STATUS_BUSY] !== 0;
  }

  /** What has happened to this VCPU so far, on all threads. A copy. */
  get stats(): VcpuStats {
    return readStats(this.#native.status);
  }

  /** An injected event waits for the next run: by {@link inject}, or by an assist that met a fault. */
  get eventWaiting(): boolean {
    return this.#event.committed;
  }

  #requireIdle(operation: string): void {
    const status = this.#status;
    if ((status[BUSY]! | status[DESTROYED]!) !== 0) this.#refuse(operation);
  }

  #refuse(operation: string): never {
    if (this.destroyed) {
      this.destroy(); // detaches the views, if another thread has destroyed it
      throw requestError(ENOENT, operation);
    }
    throw requestError(EBUSY, operation);
  }

  /**
   * nvmm_vcpu_getstate: makes the pieces in `flags` (`StateFlag`, combined with |) true in {@link state}. A system call is
   * made only for those that are not true already.
   *
   * @throws NvmmError EBUSY while the VCPU runs.
   */
  getState(flags: number): void {
    integer('flags', flags, 0, ALL);
    this.#requireIdle('NVMM_IOC_VCPU_GETSTATE');
    const missing = flags & ~this.#comm[CACHED]!;
    if (missing !== 0) check(this.#native.getState(missing), 'NVMM_IOC_VCPU_GETSTATE');
  }

  /**
   * nvmm_vcpu_setstate: the pieces in `flags` take effect at the next run, as {@link state} holds them then. Makes no
   * system call. To change a part of a piece, get that piece first.
   *
   * @throws NvmmError EBUSY while the VCPU runs.
   */
  setState(flags: number): void {
    integer('flags', flags, 0, ALL);
    this.#requireIdle('nvmm_vcpu_setstate');
    const comm = this.#comm;
    comm[COMMIT]! |= flags;
    comm[CACHED]! |= flags;
  }

  /**
   * nvmm_vcpu_inject: delivers an event to the guest at the next run, before its first instruction. Makes no system call.
   * The driver does not arbitrate: an interrupt is delivered whatever IF says (AMD) or makes the run INVALID (Intel).
   *
   * @param how.replace puts the event in the place of one that still waits, which is lost then.
   * @throws NvmmError EAGAIN if one waits already, or the driver is about to deliver one again.
   * @throws RangeError for exceptions that cannot be injected: 0 (#DE), 2, 3, 31.
   */
  inject(event: VcpuEvent, how: { replace?: boolean } = {}): void {
    const checkedEvent = checkEvent(event);
    const { replace = false } = options('options of inject', how, ['replace']);
    boolean('replace', replace);
    this.#requireIdle('nvmm_vcpu_inject');
    if (!replace && (this.#event.committed || this.exit.exitState.evtPending)) {
      throw new NvmmError(
        'EAGAIN',
        'nvmm_vcpu_inject',
        'An event waits to be delivered already: run first, or inject with { replace: true } and lose that one.',
      );
    }
    this.#event.commit(checkedEvent);
  }

  /**
   * nvmm_vcpu_run: runs the guest until something happens, and blocks this thread meanwhile.
   *
   * @returns one of `ExitReason`; {@link exit} holds the rest. NONE can come at any time and asks only to run again.
   * @throws NvmmError EBUSY while the VCPU runs already; EINVAL if an injected event is not acceptable.
   */
  run(): number {
    if (onRun.hasSubscribers) this.#publishRun(false);
    const error = this.#run();
    if (onExit.hasSubscribers) this.#publishExit(error);
    if (error !== undefined) throw requestError(error, 'NVMM_IOC_VCPU_RUN');
    return this.#reason[0]!;
  }

  /**
   * The same on a thread that the VCPU keeps for itself: the event loop stays free.
   *
   * @param how.signal stops the run when it is aborted: this one and no other, if it has just ended otherwise.
   * @returns what {@link run} returns. Rejects with what it throws; with the signal's reason if that ended the run; with
   * ENOENT if the VCPU is destroyed meanwhile.
   */
  async runAsync(how: { signal?: AbortSignal } = {}): Promise<number> {
    const signal = abortSignal('options of runAsync', how);
    if (signal === undefined) return await this.#start();
    signal.throwIfAborted();
    const stop = (): void => {
      this.#stopRun();
    };
    const run = this.#start(); // before the signal is listened to: if it is refused, another run is under way
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop(); // by a subscriber who was told of the run
    try {
      const reason = await run;
      if (reason === ExitReason.STOPPED) signal.throwIfAborted();
      return reason;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /**
   * Runs the guest on the VCPU's own thread, and gives each exit but NONE as it comes: {@link exit}, the one view, to be dealt
   * with before the next is asked for. Ends when the VCPU is stopped. As with every async generator, `return()` during a
   * `next()` waits for the exit that is awaited: {@link stop} or the signal ends that.
   *
   * @param how.signal ends the iteration, with its reason as the error.
   */
  async *exits(how: { signal?: AbortSignal } = {}): AsyncGenerator<Exit, void, undefined> {
    for (;;) {
      const reason = await this.runAsync(how);
      if (reason === ExitReason.STOPPED) return;
      if (reason !== ExitReason.NONE) yield this.exit;
    }
  }

  #start(): Promise<number> {
    if (onRun.hasSubscribers) this.#publishRun(true);
    const error = this.#native.startRun(this.#completed);
    if (error !== 0) throw requestError(error, 'NVMM_IOC_VCPU_RUN');
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      underWay.add(this);
    });
  }

  #stopRun(): void {
    this.#ownStop = this.#native.stopRun() || this.#ownStop;
  }

  #complete(error: Errno): void {
    this.#flush();
    if (error === WRITES_WAIT) {
      if (this.#thrown !== undefined) this.#stopRun();
      return;
    }
    this.#conclude(error);
    if (this.#ownStop === 0) return;
    this.#native.withdrawStop(this.#ownStop);
    this.#ownStop = 0;
  }

  #conclude(error: Errno): void {
    const pending = this.#pending;
    const thrown = this.#thrown;
    this.#pending = this.#thrown = undefined;
    underWay.delete(this);
    if (thrown !== undefined) {
      pending?.reject(thrown.error);
      return;
    }
    const errno = this.destroyed ? ENOENT : error;
    if (errno === 0 && this.#coalescer?.takes(this.exit) === true) this.exit.bytes.fill(0); // NONE
    if (onExit.hasSubscribers) this.#publishExit(errno);
    if (errno === 0) pending?.resolve(this.#reason[0]!);
    else pending?.reject(requestError(errno, 'NVMM_IOC_VCPU_RUN'));
  }

  #publishRun(asynchronous: boolean): void {
    const message: RunMessage = { machine: this.machine.id, vcpu: this.id, asynchronous };
    onRun.publish(message);
  }

  #publishExit(error: Errno = 0): void {
    const ended =
      error === 0 ? { reason: this.#reason[0]!, error: undefined } : { reason: undefined, error: errnoName(error) };
    const message: ExitMessage = { machine: this.machine.id, vcpu: this.id, ...ended };
    onExit.publish(message);
  }

  #flush(): void {
    try {
      this.#coalescer?.flush();
    } catch (error) {
      this.#thrown ??= { error };
    }
  }

  /**
   * Collects writes to some ports and addresses while the VCPU runs asynchronously, and hands them over in batches: the guest
   * goes on meanwhile, and a batch costs one wake-up of this thread, not each byte. Each other exit, and the end of each run,
   * comes after the writes before it. `undefined` ends it.
   *
   * Of ports: OUT of 1, 2 or 4 bytes, not OUTS. Of memory: MOV of a register or an immediate, within a page, where the
   * processor gives the instruction's bytes, as AMD's do. Everything else is an exit as ever, and so are instructions in an
   * interrupt shadow or under RFLAGS.TF or RF, and all of {@link run}.
   *
   * What `deliver` throws ends the run, and rejects it. While it is called the VCPU counts as running.
   *
   * @throws NvmmError EBUSY while the VCPU runs.
   */
  configureCoalescing(how: MemoryCoalescing): void;
  // eslint-disable-next-line @typescript-eslint/unified-signatures -- one would leave the parameter of `deliver` untyped
  configureCoalescing(how: PortCoalescing | undefined): void;
  configureCoalescing(how: Coalescing | undefined): void {
    this.#requireIdle('configureCoalescing');
    if (how !== undefined) {
      this.#coalescer = new Coalescer(this.#native, how);
      return;
    }
    this.#coalescer = undefined;
    this.#native.coalesce(new Float64Array(0), new Float64Array(0), 0);
  }

  /**
   * nvmm_vcpu_stop: ends one run with STOPPED, the present one or else the next. Never lost; works from any thread that
   * has this VCPU.
   */
  stop(): void {
    this.#native.stop();
  }

  /**
   * nvmm_vcpu_configure(CPUID): what the guest sees of one CPUID leaf.
   *
   * @throws NvmmError ENOBUFS beyond `capability.confCpuidMaxops` leaves; EBUSY while the VCPU runs.
   */
  configureCpuid(configuration: CpuidConfiguration): void {
    const given = options('configuration', configuration, ['leaf', 'mask', 'exit']);
    const leaf = integer('leaf', given.leaf, 0, 0xffff_ffff);
    const exit = given.exit === undefined ? false : boolean('exit', given.exit);
    const mask = given.mask === undefined ? undefined : options('mask', given.mask, ['set', 'del']);
    if (exit && mask !== undefined) throw new TypeError('A leaf has either a mask or an exit, not both.');
    const conf = new Uint8Array(CONF_CPUID_SIZE);
    const view = new DataView(conf.buffer);
    view.setUint32(CONF_CPUID.bits, (mask === undefined ? 0 : 1) | (exit ? 2 : 0), true);
    view.setUint32(CONF_CPUID.leaf, leaf, true);
    for (const part of ['set', 'del'] as const) {
      const names = ['eax', 'ebx', 'ecx', 'edx'] as const;
      const registers = options(`mask.${part}`, mask?.[part], names);
      names.forEach((name, i) => {
        const value = integer(`mask.${part}.${name}`, registers[name] ?? 0, 0, 0xffff_ffff);
        view.setUint32(CONF_CPUID[part] + 4 * i, value, true);
      });
    }
    this.#configure(CONF_CPUID_OP, conf);
  }

  /**
   * nvmm_vcpu_configure(TPR): whether a write of CR8 ends the run with TPR_CHANGED. Intel only: see
   * `capability.vcpuConfSupport`.
   *
   * @throws NvmmError EINVAL where the processor is AMD's; EBUSY while the VCPU runs.
   */
  configureTpr(configuration: { exitChanged: boolean }): void {
    const given = options('configuration', configuration, ['exitChanged']);
    const conf = new Uint8Array(CONF_TPR_SIZE);
    conf[0] = boolean('exitChanged', given.exitChanged) ? 1 : 0;
    this.#configure(CONF_TPR_OP, conf);
  }

  #configure(op: number, conf: Uint8Array): void {
    this.#requireIdle('NVMM_IOC_VCPU_CONFIGURE');
    check(this.#native.configure(op, conf), 'NVMM_IOC_VCPU_CONFIGURE');
  }

  /**
   * nvmm_vcpu_configure(CALLBACKS): the device side of {@link assistIo} and {@link assistMem}. Makes no system call. What is
   * not named is taken away.
   */
  configureCallbacks(callbacks: Callbacks): void {
    const { io, mem } = options('callbacks', callbacks, ['io', 'mem']);
    this.#x86().setCallbacks({
      io: callback('io', io) as Callbacks['io'],
      mem: callback('mem', mem) as Callbacks['mem'],
    });
  }

  // What only x86 has, made on its first use: a frontend without assists pays nothing for them.
  #x86(): Assists {
    return (this.#assists ??= new Assists(this.#native.comm, this.#native.exit, this.machine.guestMemory, this));
  }

  /** The assists of a VCPU that is neither running nor destroyed. */
  #idle(operation: string): Assists {
    const status = this.#status;
    const assists = this.#assists;
    if (assists !== undefined && (status[BUSY]! | status[DESTROYED]!) === 0) return assists;
    this.#requireIdle(operation);
    return this.#x86();
  }

  /**
   * nvmm_gva_to_gpa: where a guest-virtual address leads, by the guest's paging mode (none, 32-bit, PAE, 4-level) and page
   * tables, and what they allow there. Neither the privilege level nor the accessed and dirty bits are looked at. Fetches CRS
   * and MSRS if they are not true.
   *
   * @param gva 64 bits, any byte; canonical under 4-level paging.
   * @throws TranslationError EFAULT, with the reason: 'not-canonical', 'not-present', 'reserved', 'table-outside-memory',
   * 'unsupported'. NvmmError EBUSY while the VCPU runs.
   */
  gvaToGpa(gva: bigint): GuestPhysical {
    return this.#idle('nvmm_gva_to_gpa').gvaToGpa(gva);
  }

  /**
   * A copy of `length` bytes of guest memory from a guest-virtual address, across pages. As a debugger reads: privileges don't
   * matter, and no callback is called.
   *
   * @throws TranslationError as {@link gvaToGpa}, and with 'outside-memory' where the machine has no memory.
   */
  readVirtual(gva: bigint, length: number): Uint8Array {
    return this.#idle('readVirtual').readVirtual(gva, length);
  }

  /**
   * Writes guest memory at a guest-virtual address, across pages: all of it or nothing. Privileges don't matter, but pages
   * must be writable (see {@link gvaToGpa} and `machine.gpaToHva` for a way around).
   *
   * @throws TranslationError as {@link readVirtual}, and with 'protection' where the page tables or `mapGpa` allow no writing.
   */
  writeVirtual(gva: bigint, data: Uint8Array): void {
    this.#idle('writeVirtual').writeVirtual(gva, data);
  }

  /**
   * nvmm_assist_io: carries out the instruction of an IO exit through the `io` callback, and sets the registers for the next
   * run. REP INS and OUTS with DF clear go in batches of at most 32 bytes, the others one element a call; the guest comes back
   * for the rest. Their memory operand may be the `mem` callback's. What the processor would raise on it (page fault, limit
   * violation) is injected into the guest, before any callback. Makes no system call.
   *
   * @throws NvmmError EINVAL if the last exit is not IO, or the callback is not there; EBUSY while the VCPU runs, and from its
   * callbacks; EFAULT if a page table can't be reached; EAGAIN if there is a fault to be injected, but an event waits already.
   * And what the callback throws. The VCPU is then as it was before the instruction.
   */
  assistIo(): void {
    this.#idle('nvmm_assist_io').io();
  }

  /**
   * nvmm_assist_mem: carries out the instruction of a MEMORY exit, with the `mem` callback for each access to where the
   * machine has no memory (or none that may be written), and sets the registers for the next run. Instructions: those of
   * libnvmm, with ADD, ADC, SBB, all forms of SUB, CMP and TEST, INC, DEC, NOT, NEG, MOVSX, MOVSXD, MOVBE, MOVNTI, SCAS, BT,
   * BTS, BTR, BTC, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B, PUSH, POP, CALL and JMP with a memory operand, and SSE moves of 4, 8
   * and 16 bytes; one iteration of a REP. An access that crosses a page is split. What the processor would raise (a page fault
   * on the second operand, a limit violation) is injected into the guest, before any callback. Makes no system call, except to
   * fetch the FPU state for SSE.
   *
   * Call it once for each exit.
   *
   * @throws AssistError ENODEV with the instruction's address and bytes if it is none of these, or the exit came from the
   * delivery of an event; EFAULT if it can't be fetched. NvmmError as {@link assistIo}. And what the callback throws. The VCPU
   * is then as it was before the instruction.
   */
  assistMem(): void {
    this.#idle('nvmm_assist_mem').mem();
  }

  /**
   * Completes the RDMSR of an RDMSR exit: `value` to EDX:EAX, and RIP to the next instruction.
   *
   * @param value 64 bits, or a number of at most 2^53 - 1.
   * @throws NvmmError EINVAL if the last exit is not RDMSR.
   */
  completeRdmsr(value: bigint | number): void {
    this.#idle('completeRdmsr').completeRdmsr(value);
  }

  /**
   * Completes the WRMSR of a WRMSR exit: RIP goes to the next instruction.
   *
   * @throws NvmmError EINVAL if the last exit is not WRMSR.
   */
  completeWrmsr(): void {
    this.#idle('completeWrmsr').completeWrmsr();
  }

  /**
   * Leaves out the instruction of an exit that tells the next one: IO, RDMSR, WRMSR, MONITOR, MWAIT, CPUID (whose answers the
   * registers hold). Ends the interrupt shadow and clears RFLAGS.RF, as every completion of an instruction does.
   *
   * @throws NvmmError EINVAL after other exits.
   */
  skipInstruction(): void {
    this.#idle('skipInstruction').skipInstruction();
  }

  /** Answers the instruction of an exit with #UD, undefined opcode. Throws as {@link inject}. */
  injectUd(): void {
    this.#idle('nvmm_vcpu_inject').injectUd();
  }

  /**
   * Answers the instruction of an exit with #GP, general protection: for MSRs that do not exist. Works in real mode, too,
   * where {@link inject} of it stops Intel's processors. Throws as {@link inject}.
   *
   * @param error the error code, 0 unless given.
   */
  injectGp(error = 0): void {
    this.#idle('nvmm_vcpu_inject').injectGp(error);
  }

  /** nvmm_vcpu_dump: the main registers as text, one a line. Fetches all state. */
  dump(): string {
    this.getState(StateFlag.ALL);
    return dump(this.id, this.state);
  }

  /**
   * nvmm_vcpu_destroy: stops the VCPU if it runs, waits for that, and gives it back. Its state has length 0 then.
   * Harmless when repeated.
   */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#assists = undefined;
    const errno = this.#native.destroy();
    this.#onDestroy();
    check(errno, 'NVMM_IOC_VCPU_DESTROY');
  }

  /** {@link destroy}, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }

  /** What `console.log(vcpu)` shows: what is known of the registers without a system call. */
  [inspect.custom](): string {
    if (this.destroyed) return `Vcpu ${this.id} (destroyed)`;
    const cached = this.#comm[CACHED]!;
    const needed = StateFlag.GPRS | StateFlag.SEGS | StateFlag.CRS | StateFlag.MSRS;
    if (this.running || (cached & needed) !== needed) return `Vcpu ${this.id} (getState() first to see its registers)`;
    return dump(this.id, this.state);
  }
}
