// The operations of a scenario, each as the system calls that it stands for.
import { errnoName, exitReasons, fieldsOf, getField, openFlags, pack, setField, sizeOf, fieldOf } from './abi.js';
import type { Value } from './compare.js';
import { headerFields, pageSize, piecesOf, registers, stopOffset } from './registers.js';
import { result, type Session } from './session.js';
import type { Numeric, Pieces, Step } from './types.js';

/** What an operation answered, by the names that expectations use. */
export type Outcome = Record<string, Value | Record<string, Value>>;

type Operation = (session: Session, step: Step) => Outcome;

const defaultPath = '/dev/nvmm';
/** Longer than any scenario's guest needs, short enough for a broken device not to hang the runner. */
const runLimit = 10_000;

const big = (value: Numeric | undefined, otherwise: Numeric = 0): bigint => BigInt(value ?? otherwise);

const fromHex = (hex: string | undefined): Uint8Array => Uint8Array.from(Buffer.from(hex ?? '', 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Letters r w x, `-` for none, or a number. */
function protOf(prot: Numeric): bigint {
  if (typeof prot === 'number' || /^[0-9]/.test(prot)) return BigInt(prot);
  if (!/^[rwx-]+$/.test(prot)) throw new Error(`${prot} is not a protection`);
  return (prot.includes('r') ? 1n : 0n) | (prot.includes('w') ? 2n : 0n) | (prot.includes('x') ? 4n : 0n);
}

function integersOf(struct: string, bytes: Uint8Array, base = 0): Record<string, Value> {
  return Object.fromEntries(fieldsOf(struct).map(([name, field]) => [name, getField(bytes, field, base)]));
}

const vcpu = (session: Session, step: Step) => ({ machid: session.machine(step), cpuid: big(step.cpu) });

/** A request whose argument names a VCPU and nothing else. */
const vcpuRequest =
  (name: string): Operation =>
  (session, step) => ({ ret: session.ioctl(step, name, vcpu(session, step)) });

/** The same for one that works on the pieces in state_wanted. */
const stateRequest =
  (name: string): Operation =>
  (session, step) => {
    if (step.want !== undefined) session.page(step)?.setHeader('state_wanted', piecesOf(step.want));
    return vcpuRequest(name)(session, step);
  };

const pageOf = (session: Session, step: Step) => {
  const page = session.page(step);
  if (!page) throw new Error('no comm page is mapped');
  return page;
};

// ---- descriptors ---------------------------------------------------------------------------------------------------

const open: Operation = (session, { fd = 'f', flags = 'O_RDONLY|O_CLOEXEC', path = defaultPath, minor = 0 }) => {
  const number = typeof flags === 'number' ? flags : openFlags(flags);
  const opened = session.raw.open(session.device, path, number, minor);
  session.opened(fd, opened);
  return { ret: opened < 0 ? result(opened) : 0n };
};

const close: Operation = (session, step) => {
  const ret = result(session.raw.close(session.device, session.fd(step)));
  session.closed(step);
  return { ret };
};

const dup: Operation = (session, step) => {
  const duplicate = session.raw.dup(session.device, session.fd(step));
  session.opened(step.as ?? 'g', duplicate);
  return { ret: duplicate < 0 ? result(duplicate) : 0n };
};

const syscalls: Record<string, (session: Session, step: Step) => number> = {
  read: (session, step) => session.raw.read(session.device, session.fd(step)),
  write: (session, step) => session.raw.write(session.device, session.fd(step)),
  fstat: (session, step) => session.raw.fstat(session.device, session.fd(step)),
  poll: (session, step) => session.raw.poll(session.device, session.fd(step)),
  lseek: (session, step) => session.raw.lseek(session.device, session.fd(step)),
  fcntl: (session, step) => session.raw.fcntl(session.device, session.fd(step), step.cmd ?? 0, Number(big(step.arg))),
  mprotect: (session, { addr = 'ram', size = pageSize, prot = 'rw' }) =>
    session.raw.mprotect(session.device, session.address(addr), BigInt(size), Number(protOf(prot))),
  munmap: (session, { addr = 'ram', size = pageSize }) => unmap(session, session.address(addr), BigInt(size)),
};

function unmap(session: Session, address: bigint, size: bigint): number {
  const error = session.raw.munmap(address, size);
  if (!error) session.unmapped(address, size);
  return error;
}

const syscall: Operation = (session, step) => {
  const call = syscalls[step.call ?? ''];
  if (!call) throw new Error(`unknown system call ${step.call}`);
  return { ret: result(call(session, step)) };
};

const ioctl: Operation = (session, step) => {
  const request = big(step.request);
  const bytes = fromHex(step.hex);
  let pointer = session.argument;
  if (step.pointer !== undefined) pointer = session.address(step.pointer);
  else {
    // As long as the request says, so that nothing of an earlier one is behind a buffer that is too short.
    const size = Math.max(bytes.length, Number((request >> 16n) & 0x1fffn));
    const buffer = new Uint8Array(size);
    buffer.set(bytes);
    session.store(pointer, buffer);
  }
  const ret = result(session.raw.ioctl(session.device, session.fd(step), request, pointer));
  return step.pointer === undefined ? { ret, hex: toHex(session.load(pointer, bytes.length)) } : { ret };
};

// ---- machines ------------------------------------------------------------------------------------------------------

const capability: Operation = (session, step) => {
  const ret = session.ioctl(step, 'nvmm_ioc_capability', {});
  const bytes = session.load(session.argument, sizeOf('nvmm_capability'));
  const fields = { ...integersOf('nvmm_capability', bytes) };
  const rsvd = fieldOf('nvmm_capability', 'arch.rsvd');
  const outcome: Outcome = { ret, rsvd: toHex(bytes.subarray(rsvd.offset, rsvd.offset + rsvd.size)) };
  for (const [name, value] of Object.entries(fields)) outcome[name.replace('arch.', '')] = value;
  return outcome;
};

const machineCreate: Operation = (session, step) => {
  const ret = session.ioctl(step, 'nvmm_ioc_machine_create', { machid: big(step.machid) });
  const machid = getField(
    session.load(session.argument, sizeOf('nvmm_ioc_machine_create')),
    fieldOf('nvmm_ioc_machine_create', 'machid'),
  );
  if (ret === 0n) session.nameMachine(step, machid);
  return { ret, machid };
};

const machineDestroy: Operation = (session, step) => ({
  ret: session.ioctl(step, 'nvmm_ioc_machine_destroy', { machid: session.machine(step) }),
});

const machineConfigure: Operation = (session, step) => ({
  ret: session.ioctl(step, 'nvmm_ioc_machine_configure', {
    machid: session.machine(step),
    op: big(step.code),
    conf: session.pointee,
  }),
});

/** `pid` as a scenario can know it. */
function owner({ raw, device }: Session, pid: Value | undefined): Value {
  if (pid === 0n || pid === undefined) return 0n;
  return pid === BigInt(raw.pid(device)) ? 'caller' : 'another';
}

const ctl: Operation = (session, step) => {
  const info = 'nvmm_ctl_mach_info';
  const before = new Uint8Array(sizeOf(info)).fill(0xee);
  setField(before, fieldOf(info, 'machid'), session.machine(step));
  session.store(session.pointee, before);
  const ret = session.ioctl(step, 'nvmm_ioc_ctl', {
    op: big(step.code),
    data: step.data === undefined ? session.pointee : session.address(step.data),
    size: big(step.size, sizeOf(info)),
  });
  const after = session.load(session.pointee, before.length);
  const fields = integersOf(info, after);
  return { ...fields, ret, pid: owner(session, fields['pid']), dataUnchanged: toHex(before) === toHex(after) };
};

// ---- memory --------------------------------------------------------------------------------------------------------

const alloc: Operation = (session, { mem = 'ram', size = pageSize, prot = 'rw' }) => {
  session.nameMemory(mem, session.allocate(BigInt(size), Number(protOf(prot))), BigInt(size));
  return {};
};

const free: Operation = (session, { mem = 'ram', size }) => ({
  ret: result(unmap(session, session.address(mem), size === undefined ? session.memorySize(mem) : BigInt(size))),
});

const write: Operation = (session, step) => {
  session.store(session.place(step), fromHex(step.hex));
  return {};
};

const read: Operation = (session, step) => ({ hex: toHex(session.load(session.place(step), Number(step.size ?? 0))) });

const probe: Operation = (session, step) => {
  const byte = new Uint8Array(1);
  const address = session.place(step);
  return { read: result(session.raw.load(address, byte)), write: result(session.raw.store(address, byte)) };
};

const hvaMap: Operation = (session, step) => ({
  ret: session.ioctl(step, 'nvmm_ioc_hva_map', {
    machid: session.machine(step),
    hva: session.address(step.hva ?? 'ram'),
    size: big(step.size),
    flags: big(step.flags),
  }),
});

const hvaUnmap: Operation = (session, step) => {
  const hva = session.address(step.hva ?? 'ram');
  const size = big(step.size);
  const ret = session.ioctl(step, 'nvmm_ioc_hva_unmap', {
    machid: session.machine(step),
    hva,
    size,
    flags: big(step.flags),
  });
  if (ret === 0n) session.unmapped(hva, size);
  return { ret };
};

const gpaMap: Operation = (session, step) => ({
  ret: session.ioctl(step, 'nvmm_ioc_gpa_map', {
    machid: session.machine(step),
    hva: session.address(step.hva ?? 'ram'),
    gpa: big(step.gpa),
    size: big(step.size),
    prot: protOf(step.prot ?? 'rwx'),
  }),
});

const gpaUnmap: Operation = (session, step) => ({
  ret: session.ioctl(step, 'nvmm_ioc_gpa_unmap', {
    machid: session.machine(step),
    gpa: big(step.gpa),
    size: big(step.size),
  }),
});

// ---- VCPUs ---------------------------------------------------------------------------------------------------------

function configure(session: Session, step: Step, code: bigint, conf: bigint): Outcome {
  return { ret: session.ioctl(step, 'nvmm_ioc_vcpu_configure', { ...vcpu(session, step), op: code, conf }) };
}

const vcpuConfigure: Operation = (session, step) => {
  const bytes = new Uint8Array(Math.max(sizeOf('nvmm_vcpu_conf_cpuid'), (step.hex?.length ?? 0) / 2));
  bytes.set(fromHex(step.hex));
  session.store(session.pointee, bytes);
  const conf = step.conf === undefined ? session.pointee : session.address(step.conf);
  return configure(session, step, big(step.code), conf);
};

const configureCpuid: Operation = (session, step) => {
  const modes = (step.mode ?? 'none').split('+');
  const fields: Record<string, bigint> = {
    mask: modes.includes('mask') ? 1n : 0n,
    exit: modes.includes('exit') ? 1n : 0n,
    leaf: big(step.leaf),
  };
  for (const name of ['eax', 'ebx', 'ecx', 'edx']) {
    fields[`u.mask.set.${name}`] = big(step.set?.[name]);
    fields[`u.mask.del.${name}`] = big(step.del?.[name]);
  }
  const bytes = pack('nvmm_vcpu_conf_cpuid', fields);
  const bits = { offset: 0, size: 4, shift: 0, width: 32, signed: false };
  setField(bytes, bits, getField(bytes, bits) | big(step.rsvd)); // given in place, with the two defined bits clear
  session.store(session.pointee, bytes);
  return configure(session, step, 200n, session.pointee);
};

const mmapComm: Operation = (session, step) => {
  const { comm = 'c', length = pageSize, prot = 'rw', flags = 'shared', add = 0 } = step;
  const offset = (session.machine(step) << 20n) + (big(step.cpu) << 12n) + BigInt(add);
  const shared: Record<string, number> = { shared: 1, private: 2, '': 0, '-': 0, none: 0 };
  const mapFlags =
    typeof flags === 'number' ? flags : flags.split('|').reduce((sum, name) => sum | (shared[name] ?? Number(name)), 0);
  const address = session.raw.mmap(
    session.device,
    session.fd(step),
    offset,
    BigInt(length),
    Number(protOf(prot)),
    mapFlags,
  );
  if (address < 0n) return { ret: errnoName(Number(-address)) };
  const pageOffset = address % BigInt(pageSize);
  session.mappedPage(comm, address - pageOffset, BigInt(pageSize));
  return { ret: 0n, pageOffset };
};

const intrRegisters = [...registers.keys()].filter((name) => name.startsWith('INTR.'));

const setState: Operation = (session, step) => {
  const page = pageOf(session, step);
  const regs = Object.entries<Numeric>((step.regs as Record<string, Numeric> | undefined) ?? {});
  const values = Object.fromEntries(regs.map(([name, value]) => [name, BigInt(value)]));
  // Recorded with INTR written as one word: bits that are not named become 0.
  if (intrRegisters.some((name) => name in values)) for (const name of intrRegisters) values[name] ??= 0n;
  page.setRegisters(values);
  page.orHeader('state_commit', piecesOf((step.commit as Pieces | undefined) ?? 0));
  page.orHeader('state_cached', piecesOf(step.cached ?? 0));
  return {};
};

const setComm: Operation = (session, step) => {
  const page = pageOf(session, step);
  for (const name of headerFields) {
    const value = step[name];
    if (value !== undefined) page.setHeader(name, piecesOf(value));
  }
  return {};
};

const event: Operation = (session, step) => {
  const page = pageOf(session, step);
  const types: Record<string, bigint> = { EXCP: 0n, INTR: 1n };
  page.setRegisters({
    'event.type': types[step.type ?? 'EXCP'] ?? big(step.type),
    'event.vector': big(step.vector),
    'event.error': big(step.error),
  });
  if (step.commit) page.setHeader('event_commit', 1n);
  return {};
};

const stopLater: Operation = (session, { ms = 0 }) => {
  session.stopAfter = ms;
  return {};
};

const readComm: Operation = (session, step) => {
  pageOf(session, step);
  return {};
};

const faultNames: Record<string, string> = { '1': 'READ', '2': 'WRITE', '4': 'EXEC' };

/** The exit argument, decoded: reason, payload, exitstate, and its bytes. */
export function decodeExit(bytes: Uint8Array): Outcome {
  const all = integersOf('nvmm_x86_exit', bytes);
  const number = all['reason'] as bigint;
  const reason = exitReasons.get(number);
  const exit: Record<string, Value> = { reason: reason?.name ?? number };
  const member = reason?.payload;
  if (member) {
    const struct = `nvmm_x86_exit_${member === 'u.mem' ? 'memory' : member === 'u.inv' ? 'invalid' : member.slice(2)}`;
    const { offset } = fieldOf('nvmm_x86_exit', member);
    Object.assign(exit, integersOf(struct, bytes, offset));
    if (member === 'u.mem') {
      const instruction = offset + fieldOf(struct, 'inst_bytes').offset;
      exit['inst_bytes'] = toHex(bytes.subarray(instruction, instruction + 15));
      exit['prot'] = faultNames[String(exit['prot'])] ?? (exit['prot'] as bigint);
    }
  }
  const exitstate: Record<string, Value> = {};
  for (const [name, value] of Object.entries(all)) {
    if (name.startsWith('exitstate.') && name !== 'exitstate.rsvd') exitstate[name.slice(10)] = value;
  }
  return { exit, exitstate, raw: toHex(bytes) };
}

/** Whether a run has returned before its first entry: it has not written exitstate then. */
function exitStateUntouched(exit: Uint8Array, before: Uint8Array): boolean {
  const { offset } = fieldOf('nvmm_x86_exit', 'exitstate.rflags');
  return toHex(exit.subarray(offset)) === toHex(before.subarray(offset));
}

const run: Operation = (session, step) => {
  const { offset, size } = { ...fieldOf('nvmm_ioc_vcpu_run', 'exit') };
  const argument = new Uint8Array(sizeOf('nvmm_ioc_vcpu_run')).fill(Number(big(step.prefill)), offset);
  argument.set(pack('nvmm_ioc_vcpu_run', vcpu(session, step)).subarray(0, offset));
  const page = session.page(step);
  const stop = page?.getHeader('stop') ?? 0n;
  const stopAfter = session.stopAfter;
  session.stopAfter = undefined;
  const stopAddress = page && stopAfter !== undefined ? page.address + stopOffset : 0n;

  const start = Date.now();
  for (let again = false; Date.now() - start < runLimit; again = true) {
    if (again) page?.setHeader('stop', stop);
    session.store(session.argument, argument);
    const limit = runLimit - (Date.now() - start);
    const ret = session.raw.run(session.device, session.fd(step), session.argument, stopAddress, stopAfter ?? 0, limit);
    if (ret !== 0) return { ret: result(ret) };
    const exit = session.load(session.argument + BigInt(offset), size);
    const outcome = decodeExit(exit);
    const { reason } = outcome['exit'] as Record<string, Value>;
    // NONE is the business of the host's scheduler.
    if (reason === 'NONE') continue;
    // So is it when the thread of stopLater gets its turn before this one has entered the guest.
    if (stopAfter !== undefined && reason === 'STOPPED' && exitStateUntouched(exit, argument.subarray(offset)))
      continue;
    return { ret: 0n, ...outcome };
  }
  throw new Error(`the run did not end within ${runLimit / 1000} seconds`);
};

export const operations: Readonly<Record<string, Operation>> = {
  open,
  close,
  dup,
  syscall,
  ioctl,
  capability,
  machineCreate,
  machineDestroy,
  machineConfigure,
  ctl,
  alloc,
  free,
  write,
  read,
  probe,
  hvaMap,
  hvaUnmap,
  gpaMap,
  gpaUnmap,
  vcpuCreate: vcpuRequest('nvmm_ioc_vcpu_create'),
  vcpuDestroy: vcpuRequest('nvmm_ioc_vcpu_destroy'),
  vcpuConfigure,
  configureCpuid,
  mmapComm,
  setState,
  setComm,
  event,
  getState: stateRequest('nvmm_ioc_vcpu_getstate'),
  setStateIoctl: stateRequest('nvmm_ioc_vcpu_setstate'),
  inject: vcpuRequest('nvmm_ioc_vcpu_inject'),
  run,
  readComm,
  stopLater,
};
