// PCI with configuration mechanism #1 (PCI Local Bus Specification 3.0): one bus, functions, base address registers, and
// the routing of INTA to INTD to the interrupt controllers as the PIIX3 south bridge does it.
import type { Bus, BusDevice } from '../bus.js';
import { SharedLine, type Line } from '../line.js';

const COMMAND = 0x04;
const COMMAND_IO = 0x01;
const COMMAND_MEMORY = 0x02;
const STATUS_CAPABILITIES = 0x10;
const BAR0 = 0x10;
const BARS = 6;
const CAPABILITIES = 0x34;
const INTERRUPT_LINE = 0x3c;
const INTERRUPT_PIN = 0x3d;

export const SLOTS = 32;
const FUNCTIONS = 8;

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  /** Class, subclass and programming interface: 24 bits. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
}

interface Bar {
  readonly kind: 'io' | 'memory';
  /** A power of two. */
  readonly size: number;
  readonly device: BusDevice;
  readonly width: 1 | 2 | 4;
  remove: (() => void) | undefined;
}

/** A function of a device: its configuration space, and what its base address registers lead to. */
export class PciFunction {
  readonly #config = new DataView(new ArrayBuffer(256));
  /** Bits that the guest can write. */
  readonly #writable = new DataView(new ArrayBuffer(256));
  readonly #bars: (Bar | undefined)[] = Array.from({ length: BARS }, () => undefined);
  #capabilityEnd = 0x40;
  #lastCapability = CAPABILITIES;
  #buses: { ports: Bus; mmio: Bus } | undefined;
  /** The line of its interrupt pin, once it is on the bus. */
  interrupt: Line = () => undefined;
  /** Called after a register was written. */
  onWrite: (register: number) => void = () => undefined;

  constructor(identity: PciIdentity) {
    const config = this.#config;
    config.setUint16(0x00, identity.vendor, true);
    config.setUint16(0x02, identity.device, true);
    config.setUint32(0x08, identity.classCode * 0x100 + (identity.revision ?? 0), true);
    config.setUint16(0x2c, identity.subsystemVendor ?? 0, true);
    config.setUint16(0x2e, identity.subsystem ?? 0, true);
    this.writable(COMMAND, 2, 0x0407); // I/O, memory, bus master, interrupt disable
    this.writable(0x0c, 1, 0xff); // cache line size
    this.writable(INTERRUPT_LINE, 1, 0xff);
  }

  /** Presets `size` bytes of a register. */
  set(register: number, size: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < size; i++) this.#config.setUint8(register + i, value >>> (8 * i));
  }

  /** Makes bits of a register writable. */
  writable(register: number, size: 1 | 2 | 4, mask: number): void {
    for (let i = 0; i < size; i++) this.#writable.setUint8(register + i, mask >>> (8 * i));
  }

  /** @param pin 1 for INTA to 4 for INTD. */
  setInterruptPin(pin: number): void {
    this.#config.setUint8(INTERRUPT_PIN, pin);
  }

  get interruptPin(): number {
    return this.#config.getUint8(INTERRUPT_PIN);
  }

  addBar(index: number, kind: 'io' | 'memory', size: number, device: BusDevice, width: 1 | 2 | 4 = 4): void {
    this.#bars[index] = { kind, size, device, width, remove: undefined };
    this.#config.setUint32(BAR0 + 4 * index, kind === 'io' ? 1 : 0, true);
    this.writable(BAR0 + 4 * index, 4, -size);
  }

  /** What the base address registers ask for: index, kind and size. */
  get bars(): { index: number; kind: 'io' | 'memory'; size: number }[] {
    return this.#bars.flatMap((bar, index) => (bar === undefined ? [] : [{ index, kind: bar.kind, size: bar.size }]));
  }

  /** Appends a capability: its bytes from the third on. @returns its place. */
  addCapability(id: number, body: readonly number[]): number {
    const at = this.#capabilityEnd;
    this.#config.setUint16(0x06, this.#config.getUint16(0x06, true) | STATUS_CAPABILITIES, true);
    this.#config.setUint8(this.#lastCapability === CAPABILITIES ? CAPABILITIES : this.#lastCapability + 1, at);
    [id, 0, ...body].forEach((byte, i) => {
      this.#config.setUint8(at + i, byte);
    });
    this.#lastCapability = at;
    this.#capabilityEnd += (2 + body.length + 3) & ~3;
    return at;
  }

  /** @internal */
  attach(buses: { ports: Bus; mmio: Bus }, interrupt: Line, multifunction: boolean): void {
    this.#buses = buses;
    this.interrupt = interrupt;
    if (multifunction) this.#config.setUint8(0x0e, 0x80);
  }

  read(register: number, size: number): number {
    if (size === 1) return this.#config.getUint8(register);
    return size === 2 ? this.#config.getUint16(register, true) : this.#config.getUint32(register, true);
  }

  write(register: number, value: number, size: number): void {
    for (let i = 0; i < size; i++) {
      const mask = this.#writable.getUint8(register + i);
      const kept = this.#config.getUint8(register + i) & ~mask;
      this.#config.setUint8(register + i, kept | ((value >>> (8 * i)) & mask));
    }
    const concernsBars = (register & ~3) === COMMAND || (register >= BAR0 && register < BAR0 + 4 * BARS);
    if (concernsBars) this.#placeBars();
    this.onWrite(register);
  }

  /** Puts the devices where the registers say; one that would lie over another is nowhere, until one of them moves. */
  #placeBars(): void {
    const command = this.#config.getUint16(COMMAND, true);
    this.#bars.forEach((bar, index) => {
      if (bar === undefined || this.#buses === undefined) return;
      bar.remove?.();
      bar.remove = undefined;
      const bus = bar.kind === 'io' ? this.#buses.ports : this.#buses.mmio;
      const enabled = (command & (bar.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY)) !== 0;
      const base = (this.#config.getUint32(BAR0 + 4 * index, true) & -bar.size) >>> 0;
      const fits = base !== 0 && (bar.kind === 'memory' || base + bar.size <= 0x1_0000);
      if (enabled && fits && !bus.occupied(base, bar.size)) {
        bar.remove = bus.add(base, bar.size, bar.device, bar.width);
      }
    });
  }
}

export class PciBus {
  readonly #buses: { ports: Bus; mmio: Bus };
  readonly #functions: (PciFunction | undefined)[] = [];
  readonly #router: InterruptRouter;
  readonly #reset: () => void;
  #address = 0;

  /** @param irq a wire to an input of the interrupt controllers. @param reset what bit 2 of port 0xcf9 does. */
  constructor(buses: { ports: Bus; mmio: Bus }, irq: (input: number) => Line, reset: () => void) {
    this.#buses = buses;
    this.#router = new InterruptRouter(irq);
    this.#reset = reset;
    this.add(0, 0, hostBridge());
    this.add(1, 0, this.#router.isaBridge);
  }

  connect(): void {
    const { ports } = this.#buses;
    ports.add(
      0xcf8,
      4,
      {
        read: (_, size) => (size === 4 ? this.#address : size === 2 ? 0xffff : 0xff),
        write: (offset, value, size) => {
          if (size === 4) this.#address = (value & 0x80ff_fffc) >>> 0;
          else if (offset === 1 && size === 1 && (value & 4) !== 0) this.#reset();
        },
      },
      4,
    );
    ports.add(
      0xcfc,
      4,
      {
        read: (offset, size) => this.#selected?.read((this.#address & 0xfc) + offset, size) ?? 2 ** (8 * size) - 1,
        write: (offset, value, size) => {
          this.#selected?.write((this.#address & 0xfc) + offset, value, size);
        },
      },
      4,
    );
  }

  /** Slot 0 is the host bridge, slot 1 the ISA bridge. */
  add(slot: number, number: number, pciFunction: PciFunction): void {
    const pin = pciFunction.interruptPin;
    const interrupt = pin === 0 ? () => undefined : this.#router.input(slot, pin);
    this.#functions[slot * FUNCTIONS + number] = pciFunction;
    pciFunction.attach(this.#buses, interrupt, number > 0);
    if (number > 0) this.#functions[slot * FUNCTIONS]?.attach(this.#buses, interrupt, true);
  }

  /** The first slot with nothing in it. */
  get freeSlot(): number {
    for (let slot = 0; slot < SLOTS; slot++) if (this.#functions[slot * FUNCTIONS] === undefined) return slot;
    throw new RangeError('All 32 slots of the PCI bus are in use.');
  }

  /** All functions, with their places. */
  get functions(): { slot: number; number: number; function: PciFunction }[] {
    return [...this.#functions.entries()].flatMap(([index, found]) =>
      found === undefined ? [] : [{ slot: Math.floor(index / FUNCTIONS), number: index % FUNCTIONS, function: found }],
    );
  }

  get #selected(): PciFunction | undefined {
    const enabled = this.#address >= 0x8000_0000;
    const bus = (this.#address >> 16) & 0xff;
    return enabled && bus === 0 ? this.#functions[(this.#address >> 8) & 0xff] : undefined;
  }

  /**
   * What firmware does, for guests that are started without it: places for all base address registers, interrupt routes,
   * and everything enabled.
   */
  assignResources(firstPort = 0xc000, firstMemory = 0xfe00_0000): void {
    this.#router.assign();
    const next = { io: firstPort, memory: firstMemory };
    for (const { slot, function: pciFunction } of this.functions) {
      for (const { index, kind, size } of pciFunction.bars) {
        const base = Math.ceil(next[kind] / size) * size;
        next[kind] = base + size;
        pciFunction.write(BAR0 + 4 * index, base, 4);
      }
      if (pciFunction.bars.length > 0) pciFunction.write(COMMAND, COMMAND_IO | COMMAND_MEMORY | 4, 2);
      const pin = pciFunction.interruptPin;
      if (pin !== 0) pciFunction.write(INTERRUPT_LINE, this.#router.irqOf(slot, pin), 1);
    }
    for (const irq of new Set(ROUTES)) {
      const port = irq < 8 ? 0x4d0 : 0x4d1;
      const { ports } = this.#buses;
      ports.write(port, ports.read(port, 1) | (1 << (irq & 7)), 1);
    }
  }
}

/** The i440FX, by whose subsystem SeaBIOS knows a virtual machine. Its shadow RAM is always writable. */
function hostBridge(): PciFunction {
  const bridge = new PciFunction({
    vendor: 0x8086,
    device: 0x1237,
    classCode: 0x060000,
    revision: 2,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
  });
  for (let register = 0x50; register < 0x80; register++) bridge.writable(register, 1, 0xff);
  return bridge;
}

/** Where assignResources and PC firmware route the four lines. */
const ROUTES = [10, 10, 11, 11] as const;

const pirqOf = (slot: number, pin: number): 0 | 1 | 2 | 3 => ((slot - 1 + pin - 1) & 3) as 0 | 1 | 2 | 3;

/** The interrupt that a device's pin (1 for INTA) comes to, once firmware has set the routes up. */
export const irqOfPin = (slot: number, pin: number): number => ROUTES[pirqOf(slot, pin)];
const PIRQ_ROUTE = 0x60;
const PIRQ_DISABLED = 0x80;
/** The inputs that the bridge can route to; timer, keyboard, cascade, clock and coprocessor are not among them. */
const ROUTABLE = [3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15] as const;

/** The PIIX3's ISA bridge: four lines PIRQA to PIRQD, each to an input of the guest's choice. */
class InterruptRouter {
  readonly isaBridge = new PciFunction({ vendor: 0x8086, device: 0x7000, classCode: 0x060100 });
  readonly #lines: readonly SharedLine[];

  constructor(irq: (input: number) => Line) {
    const levels = ROUTES.map(() => false);
    const targets = levels.map(() => ROUTABLE.map((input) => ({ input, line: irq(input) })));
    const drive = (pirq: number): void => {
      const route = this.isaBridge.read(PIRQ_ROUTE + pirq, 1); // disabled: no input's number
      for (const { input, line } of targets[pirq]!) line(levels[pirq]! && route === input);
    };
    this.#lines = levels.map(
      (_, pirq) =>
        new SharedLine((level) => {
          levels[pirq] = level;
          drive(pirq);
        }),
    );
    levels.forEach((_, pirq) => {
      this.isaBridge.set(PIRQ_ROUTE + pirq, 1, PIRQ_DISABLED);
      this.isaBridge.writable(PIRQ_ROUTE + pirq, 1, 0x8f);
    });
    this.isaBridge.onWrite = (register) => {
      if ((register & ~3) === PIRQ_ROUTE)
        levels.forEach((_, pirq) => {
          drive(pirq);
        });
    };
  }

  input(slot: number, pin: number): Line {
    return this.#lines[pirqOf(slot, pin)]!.input();
  }

  assign(): void {
    ROUTES.forEach((irq, pirq) => {
      this.isaBridge.write(PIRQ_ROUTE + pirq, irq, 1);
    });
  }

  irqOf(slot: number, pin: number): number {
    return this.isaBridge.read(PIRQ_ROUTE + pirqOf(slot, pin), 1);
  }
}
