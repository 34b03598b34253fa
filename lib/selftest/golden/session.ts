// What a scenario holds while it runs: descriptors, machines, memory, comm pages. It starts with nothing and leaves
// nothing behind.
import { errnoName, pack, requestOf } from './abi.js';
import type { Value } from './compare.js';
import { CommPage } from './comm.js';
import type { DeviceHandle } from '../../native.js';
import type { RawModule } from './native.js';
import type { Numeric, Step } from './types.js';

/** The calls of nvmm_raw.node on one device. */
export class RawDevice {
  readonly module: RawModule;
  readonly handle: DeviceHandle;

  constructor(module: RawModule, handle: DeviceHandle) {
    this.module = module;
    this.handle = handle;
  }
}

interface Range {
  begin: bigint;
  end: bigint;
}

const scratchSize = 0x4000n;

export class Session {
  readonly raw: RawModule;
  readonly device: DeviceHandle;
  /** Room for the argument of a request, and for what the argument points to. */
  readonly argument: bigint;
  readonly pointee: bigint;
  /** Of the next run: see the operation stopLater. */
  stopAfter: number | undefined;

  #descriptors = new Map<string, { fd: number; open: boolean }>();
  #machines = new Map<string, bigint>();
  #memory = new Map<string, { address: bigint; size: bigint }>();
  #pages = new Map<string, CommPage>();
  // What is to be unmapped in the end. Not simply the memory by name: parts of it go away, and the system may since have
  // given their addresses to somebody else.
  #owned: Range[] = [];

  constructor({ module, handle }: RawDevice) {
    this.raw = module;
    this.device = handle;
    this.argument = this.allocate(scratchSize, 3);
    this.pointee = this.argument + scratchSize / 2n;
  }

  end(): void {
    for (const { fd, open } of this.#descriptors.values()) if (open) this.raw.close(this.device, fd);
    for (const { begin, end } of this.#owned) this.raw.munmap(begin, end - begin);
  }

  /**
   * Calls `use` with a session in a child process, which ends then. It knows what this one knows, and what it does to that
   * is not seen here. Their memory is the same, which only matters to a scenario that writes to memory of its own.
   */
  inChild(use: (child: Session) => void): void {
    const device = this.raw.fork(this.device);
    if (!device) throw new Error('no child process can be had');
    const child = new Session(new RawDevice(this.raw, device));
    child.#descriptors = new Map([...this.#descriptors].map(([name, descriptor]) => [name, { ...descriptor }]));
    child.#machines = new Map(this.#machines);
    child.#memory = new Map(this.#memory);
    child.#pages = new Map([...this.#pages].map(([name, page]) => [name, page.copy()]));
    try {
      use(child);
    } finally {
      child.end();
      this.raw.exit(device);
    }
  }

  // ---- names -----------------------------------------------------------------------------------------------------

  fd({ fd = 'f' }: Step): number {
    const descriptor = this.#descriptors.get(fd);
    if (!descriptor) throw new Error(`no descriptor is named ${fd}`);
    return descriptor.fd;
  }

  opened(name: string, fd: number): void {
    if (fd >= 0) this.#descriptors.set(name, { fd, open: true });
  }

  closed({ fd = 'f' }: Step): void {
    const descriptor = this.#descriptors.get(fd);
    if (descriptor) descriptor.open = false;
  }

  machine({ machine = 'm' }: Step): bigint {
    if (typeof machine === 'number') return BigInt(machine);
    const id = this.#machines.get(machine);
    if (id === undefined) throw new Error(`no machine is named ${machine}`);
    return id;
  }

  nameMachine({ machine = 'm' }: Step, id: bigint): void {
    this.#machines.set(String(machine), id);
  }

  /** `ram+0x1000`, `c`, or a literal address. */
  address(expression: Numeric): bigint {
    const [, name, offset = '0'] = /^([a-z_]\w*)(?:\+(\w+))?$/i.exec(String(expression)) ?? [];
    if (name === undefined) return BigInt(expression);
    const base = this.#memory.get(name)?.address ?? this.#pages.get(name)?.address;
    if (base === undefined) throw new Error(`no memory is named ${name}`);
    return base + BigInt(offset);
  }

  /** Where mem+at is. */
  place({ mem = 'ram', at = 0 }: Step): bigint {
    return this.address(mem) + BigInt(at);
  }

  /** The comm page that a step is about, if any: the one it names, or `c` for VCPU 0 of `m`. */
  page({ comm, cpu = 0, machine = 'm' }: Step): CommPage | undefined {
    if (comm === 'none') return undefined;
    if (comm === undefined) return cpu === 0 && machine === 'm' ? this.#pages.get('c') : undefined;
    const page = this.#pages.get(comm);
    if (!page) throw new Error(`no comm page is named ${comm}`);
    return page;
  }

  mappedPage(name: string, address: bigint, length: bigint): void {
    this.#owned.push({ begin: address, end: address + length });
    this.#pages.set(name, new CommPage(this.raw, address));
  }

  // ---- memory ----------------------------------------------------------------------------------------------------

  allocate(size: bigint, prot: number): bigint {
    const address = this.raw.allocate(size, prot);
    if (address < 0n) throw new Error(`no memory of ${size} bytes: ${errnoName(Number(-address))}`);
    this.#owned.push({ begin: address, end: address + size });
    return address;
  }

  nameMemory(name: string, address: bigint, size: bigint): void {
    this.#memory.set(name, { address, size });
  }

  memorySize = (name: string): bigint => this.#memory.get(name)?.size ?? 0n;

  /** The range has been unmapped: it is no longer ours, and comm pages in it are gone. */
  unmapped(begin: bigint, size: bigint): void {
    const end = begin + size;
    this.#owned = this.#owned.flatMap((range) =>
      [
        { begin: range.begin, end: range.end < begin ? range.end : begin },
        { begin: range.begin > end ? range.begin : end, end: range.end },
      ].filter((rest) => rest.begin < rest.end),
    );
    for (const [name, { address }] of this.#pages) if (address >= begin && address < end) this.#pages.delete(name);
  }

  load(address: bigint, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    const error = this.raw.load(address, bytes);
    if (error) throw new Error(`reading ${size} bytes at 0x${address.toString(16)}: ${errnoName(-error)}`);
    return bytes;
  }

  store(address: bigint, bytes: Uint8Array): void {
    const error = this.raw.store(address, bytes);
    if (error) throw new Error(`writing ${bytes.length} bytes at 0x${address.toString(16)}: ${errnoName(-error)}`);
  }

  // ---- requests --------------------------------------------------------------------------------------------------

  /** A request whose argument is this struct. */
  ioctl(step: Step, name: string, fields: Record<string, bigint>): Value {
    this.store(this.argument, pack(name.toLowerCase(), fields));
    return result(this.raw.ioctl(this.device, this.fd(step), requestOf(name.toUpperCase()), this.argument));
  }
}

/** The result of a raw call: its value, or the name of the errno. */
export const result = (value: number): Value => (value < 0 ? errnoName(-value) : BigInt(value));
