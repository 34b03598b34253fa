// A software system at the level of system calls: open files, machines, guests, and calls on threads of their own.
import { expect } from 'chai';
import { createMock, type MockOptions, type MockSystem } from 'nvmm/mock';
import { errnoName, fieldOf, getField, openFlags, pack, requestOf, sizeOf } from '../../lib/selftest/golden/abi.js';
import { CommPage } from '../../lib/selftest/golden/comm.js';
import type { Value } from '../../lib/selftest/golden/compare.js';
import type { DeviceHandle } from '../../lib/native.js';
import { loadNative, type Call } from '../../lib/selftest/golden/native.js';
import { decodeExit } from '../../lib/selftest/golden/operations.js';
import { piecesOf, registerNamed } from '../../lib/selftest/golden/registers.js';
import { RawDevice, Session } from '../../lib/selftest/golden/session.js';
import type { Pieces } from '../../lib/selftest/golden/types.js';
import type { Flavour } from './rule.js';

export const PAGE = 4096;
export const MAX_RAM = 0x2000000000;

/** Where a guest's code begins, and its counter lies. */
export const CODE = 0x1000;
const COUNTER = 0x2000;
const RAM = 0x10000;

/** A guest that never ends and never exits: inc dword [0x2000]; jmp back. Its counter is the clock of tests that wait. */
export const SPIN = '66ff060020 ebf9';

/** Rounds of a spinning guest within which whatever does not wait for it has long returned... */
const PATIENCE = 20_000_000;
/** ... and those that a call must have been seen waiting. */
const WAITING = 100_000;

type Fields = Record<string, number | bigint>;

/** 'ok', or the errno's name. */
export type Answer = string;

const answerOf = (result: number): Answer => (result < 0 ? errnoName(-result) : 'ok');

const bigints = (fields: Fields): Record<string, bigint> =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, BigInt(value)]));

/** What a run returned: its answer, and the exit as the scenarios decode it. */
export interface Ran {
  readonly answer: Answer;
  readonly reason: Value;
  /** The payload, by field. */
  readonly exit: Record<string, Value>;
  readonly exitstate: Record<string, Value>;
}

const RUN = 'nvmm_ioc_vcpu_run';

export class System {
  readonly flavour: Flavour;
  readonly mock: MockSystem;
  readonly session: Session;
  readonly #files: File[] = [];
  readonly #guests: Guest[] = [];

  constructor(flavour: Flavour, options: MockOptions = {}) {
    this.flavour = flavour;
    this.mock = createMock({ ...options, ...flavour });
    const handle: unknown = this.mock.handle;
    this.session = new Session(new RawDevice(loadNative('nvmm_raw'), handle as DeviceHandle));
  }

  get isIntel(): boolean {
    return this.flavour.vendor === 'intel';
  }

  get hasStop(): boolean {
    return this.flavour.kernelVersion === 2;
  }

  /** Opens the device: as its owner, or as root. */
  open(flags = 'O_RDONLY'): File {
    const { raw, device } = this.session;
    const fd = raw.open(device, '/dev/nvmm', openFlags(`${flags}|O_CLOEXEC`), 0);
    if (fd < 0) throw new Error(`open: ${errnoName(-fd)}`);
    return this.adopt(fd);
  }

  adopt(fd: number): File {
    const file = new File(this, fd);
    this.#files.push(file);
    return file;
  }

  openRoot(): File {
    return this.open('O_WRONLY');
  }

  /** A machine whose VCPU 0 is about to execute `code` in real mode. */
  guest(code: string, file = this.open()): Guest {
    const guest = new Guest(this, file, file.createMachine(), code);
    this.#guests.push(guest);
    return guest;
  }

  allocate(size: number): bigint {
    return this.session.allocate(BigInt(size), 3);
  }

  /** Nothing goes on afterwards, whatever a broken device was made to do. */
  end(): void {
    for (const guest of this.#guests) guest.finish();
    for (const file of this.#files) file.close();
    this.session.end();
  }
}

export class File {
  readonly system: System;
  readonly fd: number;

  constructor(system: System, fd: number) {
    this.system = system;
    this.fd = fd;
  }

  /** The answer to a request without its prefix, as 'GPA_MAP'; fields that are not named are 0. */
  request(name: string, fields: Fields = {}): Answer {
    const { session } = this.system;
    const struct = `nvmm_ioc_${name.toLowerCase()}`;
    session.store(session.argument, pack(struct, bigints(fields)));
    return answerOf(session.raw.ioctl(session.device, this.fd, requestOf(`NVMM_IOC_${name}`), session.argument));
  }

  /** A field of the last request's argument, as it came back. */
  returned(struct: string, field: string): number {
    const { session } = this.system;
    return Number(getField(session.load(session.argument, sizeOf(struct)), fieldOf(struct, field)));
  }

  /** Makes the request on a thread of its own. */
  begin(name: string, fields: Fields = {}): Pending {
    const { session } = this.system;
    const struct = `nvmm_ioc_${name.toLowerCase()}`;
    const argument = session.allocate(BigInt(PAGE), 3);
    session.store(argument, pack(struct, bigints(fields)));
    const call = session.raw.beginIoctl(session.device, this.fd, requestOf(`NVMM_IOC_${name}`), argument);
    return new Pending(session, call, argument);
  }

  /** Closes the file on a thread of its own. */
  beginClose(): Pending {
    const { session } = this.system;
    return new Pending(session, session.raw.beginClose(session.device, this.fd));
  }

  beginMmap(machid: number, cpuid: number): Pending {
    const { session } = this.system;
    return new Pending(session, session.raw.beginMmap(session.device, this.fd, commOffset(machid, cpuid)));
  }

  createMachine(): number {
    expect(this.request('MACHINE_CREATE')).to.equal('ok');
    return this.returned('nvmm_ioc_machine_create', 'machid');
  }

  /** CTL(MACH_INFO): the answer, and what it says of the machine. */
  info(machid: number): { answer: Answer; nvcpus: number; nram: number; pid: number } {
    const { session } = this.system;
    const struct = 'nvmm_ctl_mach_info';
    session.store(session.pointee, pack(struct, { machid: BigInt(machid) }));
    const answer = this.request('CTL', { op: 0, data: session.pointee, size: sizeOf(struct) });
    const bytes = session.load(session.pointee, sizeOf(struct));
    const field = (name: string): number => Number(getField(bytes, fieldOf(struct, name)));
    return { answer, nvcpus: field('nvcpus'), nram: field('nram'), pid: field('pid') };
  }

  /** VCPU_CONFIGURE(CPUID) of a leaf: `bits` 1 is a mask, 2 an exit, 0 removes the entry. */
  configureCpuid(machid: number, leaf: number, bits: number): Answer {
    const { session } = this.system;
    const conf = new Uint8Array(sizeOf('nvmm_vcpu_conf_cpuid'));
    new DataView(conf.buffer).setUint32(0, bits, true);
    new DataView(conf.buffer).setUint32(4, leaf, true);
    session.store(session.pointee, conf);
    return this.request('VCPU_CONFIGURE', { machid, cpuid: 0, op: 200, conf: session.pointee });
  }

  /** Maps a comm page, for good. */
  mmap(machid: number, cpuid: number): CommPage | Answer {
    const { session } = this.system;
    const address = session.raw.mmap(session.device, this.fd, commOffset(machid, cpuid), BigInt(PAGE), 3, 1);
    if (address < 0n) return errnoName(Number(-address));
    session.mappedPage(`comm ${machid} ${cpuid}`, address, BigInt(PAGE));
    return new CommPage(session.raw, address);
  }

  dup(): File {
    const { session } = this.system;
    return this.system.adopt(session.raw.dup(session.device, this.fd));
  }

  close(): Answer {
    const { session } = this.system;
    return answerOf(session.raw.close(session.device, this.fd));
  }
}

const commOffset = (machid: number, cpuid: number): bigint => (BigInt(machid) << 20n) | (BigInt(cpuid) << 12n);

/** A system call under way. */
export class Pending {
  readonly #session: Session;
  readonly #call: Call;
  readonly #argument: bigint;
  #result: number | undefined;

  constructor(session: Session, call: Call, argument = 0n) {
    this.#session = session;
    this.#call = call;
    this.#argument = argument;
  }

  /** Whether it has returned, for which it gets `ms`. */
  returned(ms = 0): boolean {
    this.#result ??= this.#session.raw.wait(this.#call, ms);
    return this.#result !== undefined;
  }

  begun(): boolean {
    return this.#session.raw.begun(this.#call);
  }

  kick(): void {
    this.#session.raw.kick(this.#call);
  }

  get answer(): Answer {
    if (this.#result === undefined) throw new Error('the call has not returned');
    return answerOf(this.#result);
  }

  /** What a run returned. */
  get ran(): Ran {
    return ranOf(this.#session, this.answer, this.#argument);
  }
}

function ranOf(session: Session, answer: Answer, argument: bigint): Ran {
  const { offset, size } = fieldOf(RUN, 'exit');
  const { exit, exitstate } = decodeExit(session.load(argument + BigInt(offset), size));
  const { reason, ...payload } = exit as Record<string, Value>;
  return { answer, reason: reason ?? '', exit: payload, exitstate: exitstate as Record<string, Value> };
}

/** A machine with 64 KiB of memory from 0, and VCPUs in real mode. */
export class Guest {
  readonly system: System;
  readonly file: File;
  readonly machid: number;
  readonly ram: bigint;
  readonly comm: CommPage;
  readonly #running = new Map<Pending, number>();

  constructor(system: System, file: File, machid: number, code: string) {
    this.system = system;
    this.file = file;
    this.machid = machid;
    this.ram = system.allocate(RAM);
    expect(this.request('HVA_MAP', { hva: this.ram, size: RAM })).to.equal('ok');
    expect(this.request('GPA_MAP', { hva: this.ram, gpa: 0, size: RAM, prot: 7 })).to.equal('ok');
    this.write(CODE, code);
    this.comm = this.createVcpu(0);
  }

  /** A request on this machine, and VCPU 0 unless another is named. */
  request(name: string, fields: Fields = {}): Answer {
    return this.file.request(name, this.#fields(name, fields));
  }

  begin(name: string, fields: Fields = {}): Pending {
    return this.file.begin(name, this.#fields(name, fields));
  }

  #fields(name: string, fields: Fields): Fields {
    return name.startsWith('VCPU_') ? { machid: this.machid, cpuid: 0, ...fields } : { machid: this.machid, ...fields };
  }

  /** CTL(MACH_INFO) on a thread of its own. */
  beginInfo(): Pending {
    const { session } = this.system;
    const data = session.allocate(BigInt(PAGE), 3);
    session.store(data, pack('nvmm_ctl_mach_info', { machid: BigInt(this.machid) }));
    return this.file.begin('CTL', { op: 0, data, size: sizeOf('nvmm_ctl_mach_info') });
  }

  /** A VCPU about to execute the guest's code. */
  createVcpu(cpuid: number): CommPage {
    expect(this.request('VCPU_CREATE', { cpuid })).to.equal('ok');
    const comm = this.file.mmap(this.machid, cpuid);
    if (typeof comm === 'string') throw new Error(`mmap: ${comm}`);
    comm.setRegisters({ 'CS.selector': 0n, 'CS.base': 0n, RIP: BigInt(CODE), RSP: 0x8000n });
    comm.setHeader('state_commit', piecesOf(['SEGS', 'GPRS']));
    return comm;
  }

  /** The driver's view of registers. */
  registers(...names: string[]): bigint[] {
    this.getState('ALL');
    const bytes = this.comm.contents();
    return names.map((name) => getField(bytes, registerNamed(name).field));
  }

  getState(pieces: Pieces): void {
    this.comm.setHeader('state_wanted', piecesOf(pieces));
    expect(this.request('VCPU_GETSTATE')).to.equal('ok');
  }

  /** Takes effect at the next run. */
  setRegisters(pieces: Pieces, values: Record<string, bigint>): void {
    this.comm.setRegisters(values);
    this.comm.orHeader('state_commit', piecesOf(pieces));
  }

  inject(type: number, vector: number): void {
    this.comm.setRegisters({ 'event.type': BigInt(type), 'event.vector': BigInt(vector), 'event.error': 0n });
    this.comm.setHeader('event_commit', 1n);
  }

  write(gpa: number, hex: string): void {
    this.system.session.store(this.ram + BigInt(gpa), Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex')));
  }

  /** VCPU_RUN; every byte of the exit holds `prefill` before. */
  run(cpuid = 0, prefill = 0): Ran {
    const { session } = this.system;
    const { offset } = fieldOf(RUN, 'exit');
    const argument = new Uint8Array(sizeOf(RUN)).fill(prefill, offset);
    argument.set(pack(RUN, { machid: BigInt(this.machid), cpuid: BigInt(cpuid) }).subarray(0, offset));
    session.store(session.argument, argument);
    const answer = answerOf(
      session.raw.ioctl(session.device, this.file.fd, requestOf('NVMM_IOC_VCPU_RUN'), session.argument),
    );
    return ranOf(session, answer, session.argument);
  }

  // ---- runs on threads ---------------------------------------------------------------------------------------------

  /** Creates a VCPU that spins as SPIN does, in code and with a counter of its own. */
  createSpinner(cpuid: number): void {
    const counter = Buffer.alloc(2);
    counter.writeUInt16LE(COUNTER + 4 * cpuid);
    this.write(CODE + 0x10 * cpuid, `66ff06${counter.toString('hex')} ebf9`);
    this.createVcpu(cpuid).setRegisters({ RIP: BigInt(CODE + 0x10 * cpuid) });
  }

  /** How often a VCPU has gone round. */
  rounds(cpuid = 0): number {
    const address = this.ram + BigInt(COUNTER + 4 * cpuid);
    return new DataView(this.system.session.load(address, 4).buffer).getUint32(0, true);
  }

  /** Runs a VCPU on a thread of its own, and waits until it is seen running. */
  spin(cpuid = 0): Pending {
    const run = this.begin('VCPU_RUN', { cpuid });
    this.#running.set(run, cpuid);
    this.#progress(run, 1);
    return run;
  }

  /** Waits until the VCPU has gone round `count` times more, or `until` holds. */
  #progress(run: Pending, count: number, until: () => boolean = () => false): boolean {
    const cpuid = this.#running.get(run);
    const start = this.rounds(cpuid);
    while (this.rounds(cpuid) - start < count) {
      if (until()) return true;
      if (run.returned(1)) return until();
    }
    return until();
  }

  /** Expects `call` to return while `run` goes on. */
  expectNoWait(call: Pending, run: Pending): Answer {
    const returned = this.#progress(run, PATIENCE, () => call.returned(1));
    expect(returned, 'it returns').to.equal(true);
    expect(run.returned(), 'the run goes on').to.equal(false);
    return call.answer;
  }

  /** Expects `call` to wait while `run` goes on. */
  expectWait(call: Pending, run: Pending): void {
    expect(this.seenWaiting(call, run), 'it waits').to.equal(true);
    expect(run.returned(), 'the run goes on').to.equal(false);
  }

  seenWaiting(call: Pending, run: Pending): boolean {
    this.#progress(run, PATIENCE, () => call.begun());
    return !this.#progress(run, WAITING, () => call.returned());
  }

  /** Expects the run to go on for a while. */
  expectGoesOn(run: Pending): void {
    this.#progress(run, WAITING);
    expect(run.returned(), 'the run goes on').to.equal(false);
  }

  /** Expects the run to end, without help. */
  expectEnd(run: Pending): Ran {
    this.#progress(run, PATIENCE, () => run.returned(1));
    expect(run.returned(), 'the run ends').to.equal(true);
    return run.ran;
  }

  /** Kicks the run until it ends, as a program does that must not lose a kick. */
  interrupt(run: Pending): Ran {
    const ended = this.#progress(run, PATIENCE, () => {
      run.kick();
      return run.returned(1);
    });
    expect(ended, 'the kick ends the run').to.equal(true);
    return run.ran;
  }

  /** Ends every run: by taking the code away from the guest where nothing else helps. */
  finish(): void {
    for (const run of this.#running.keys()) {
      if (run.returned()) continue;
      this.begin('GPA_UNMAP', { gpa: 0, size: RAM });
      while (!run.returned(1)) run.kick();
    }
  }
}
