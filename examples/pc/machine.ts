// The PC: memory, processors, and the devices of its board, wired up.
import type { HostMemory, Machine, Nvmm } from 'nvmm';
import type { CharChannel } from './backends/channel.js';
import type { Disk } from './backends/disk.js';
import type { NetBackend } from './backends/net.js';
import { Bus } from './bus.js';
import { Clock } from './clock.js';
import { Cpu } from './cpu.js';
import { ApicBus } from './devices/apic-bus.js';
import { connectDebugExit, connectDebugPort } from './devices/debug-ports.js';
import { connectFirmwareConfig } from './devices/fw-cfg.js';
import { I8042 } from './devices/i8042.js';
import { connectIde } from './devices/ide.js';
import { IO_APIC_BASE, IO_APIC_SIZE, IoApic } from './devices/io-apic.js';
import { LocalApic } from './devices/local-apic.js';
import { PciBus } from './devices/pci.js';
import { Pic } from './devices/pic.js';
import { Pit } from './devices/pit.js';
import { connectPort61 } from './devices/port61.js';
import { connectPort92 } from './devices/port92.js';
import { PowerManagement } from './devices/power.js';
import { Rtc } from './devices/rtc.js';
import { Uart } from './devices/uart.js';
import { Vga } from './devices/vga.js';
import { VirtioBlock } from './devices/virtio-blk.js';
import { VirtioConsole } from './devices/virtio-console.js';
import { VirtioNet } from './devices/virtio-net.js';
import { VirtioPci, type VirtioDevice } from './devices/virtio-pci.js';
import { enter } from './entry.js';
import { acpiTables, placeTables, rsdp, SCI_IRQ } from './firmware/acpi.js';
import { acpiFiles } from './firmware/table-loader.js';
import { HostTimer } from './host-timer.js';
import { CONVENTIONAL_END, EXTENDED, GiB, HIGH, KiB, memoryMap, MiB, ROM_AREA, split, VGA_WINDOW } from './layout.js';
import { loadBios } from './loaders/bios.js';
import { ImageError, type Image } from './loaders/image.js';
import { loadKernel, type KernelOptions } from './loaders/kernel.js';
import { loadRealMode } from './loaders/real-mode.js';
import type { Line } from './line.js';
import { GuestMemory, type MemoryWindow } from './memory.js';
import { Processors } from './processors.js';

/** What is started: a kernel, or a BIOS that finds something on the disks, or a kernel that asks the BIOS. */
export interface BootConfig {
  readonly kernel?: Image | undefined;
  readonly initrd?: Image | undefined;
  readonly commandLine?: string | undefined;
  readonly options?: KernelOptions;
  readonly bios?: Image | undefined;
  /** What the BIOS finds by name: see `connectFirmwareConfig`. */
  readonly files?: ReadonlyMap<string, Uint8Array>;
}

/** What a PC is made of. Backends belong to the caller, and outlive it. */
export interface PcConfig {
  /** Bytes of memory: a multiple of 4096, 2 MiB or more. */
  readonly memory: number;
  /** 1 unless given. */
  readonly processors?: number;
  readonly boot: BootConfig;
  /** COM1 to COM4. */
  readonly serials?: readonly (CharChannel | undefined)[];
  /** Primary master and slave, secondary master and slave. */
  readonly ide?: readonly (Disk | undefined)[];
  readonly virtioDisks?: readonly Disk[];
  readonly networks?: readonly { readonly backend: NetBackend; readonly mac: Uint8Array }[];
  readonly virtioConsole?: CharChannel | undefined;
  /** The text that SeaBIOS writes to port 0x402. */
  readonly debugConsole?: CharChannel | undefined;
  readonly debugExit?: { readonly base?: number | undefined; readonly length?: number | undefined } | undefined;
  /** See `ProcessorsParts.blocking`. */
  readonly blocking: boolean;
}

/** Why a PC ended. */
export type Outcome =
  | { readonly kind: 'halt' | 'reset' | 'off' | 'quit' }
  /** By isa-debug-exit, with the status for the process. */
  | { readonly kind: 'exit'; readonly status: number };

const SERIAL_PORTS = [
  { base: 0x3f8, irq: 4 },
  { base: 0x2f8, irq: 3 },
  { base: 0x3e8, irq: 4 },
  { base: 0x2e8, irq: 3 },
] as const;

/** Of `capability.vcpuConfSupport`: writes of CR8 can end a run. */
const VCPU_CONF_TPR = 2n;

/** Where the tables are behind the pointer to them, which guests look for at every 16 bytes of the ROM area. */
const ACPI_TABLES = 0x40;

/** An ArrayBuffer may be at most 4 GiB: memory is seen through windows of this size. */
const WINDOW = 2 * GiB;

/** The timer's input of the I/O APIC, as on every PC: the others have the numbers that they have at the PICs. */
const IO_APIC_TIMER = 2;

/** A PC from power-on to reset or power-off: a reset makes a new one. */
export class Pc implements Disposable {
  readonly memory: GuestMemory;
  readonly clock = new Clock();
  readonly ports = new Bus();
  readonly mmio = new Bus();
  readonly pic = new Pic();
  readonly #apics = new ApicBus();
  readonly ioApic = new IoApic(this.#apics);
  readonly power: PowerManagement;
  readonly pci: PciBus;
  readonly keyboard: I8042;
  readonly vga: Vga;
  readonly serials: readonly (Uart | undefined)[];
  readonly processors: Processors;
  readonly #machine: Machine;
  readonly #timer: HostTimer;
  #outcome: Outcome | undefined;

  /** @throws ImageError for a kernel, BIOS or initrd that can't be started. */
  constructor(nvmm: Nvmm, config: PcConfig) {
    this.#machine = nvmm.createMachine();
    try {
      const reset = (): void => {
        this.end({ kind: 'reset' });
      };
      this.memory = new GuestMemory(allocateMemory(this.#machine, config.memory));
      const { ports, mmio, clock, pic, ioApic } = this;
      const irq = (input: number): Line => {
        const lines = [pic.line(input), ioApic.line(input === 0 ? IO_APIC_TIMER : input)];
        return (level) => {
          for (const line of lines) line(level);
        };
      };

      // What every PC has.
      pic.connect(ports);
      mmio.add(IO_APIC_BASE, IO_APIC_SIZE, ioApic, 4);
      const pit = new Pit(clock, {
        line: irq(0),
        requested: () => (ioApic.enabled(IO_APIC_TIMER) ? ioApic.requested(IO_APIC_TIMER) : pic.requested(0)),
      });
      pit.connect(ports);
      pic.onAcknowledge = (input) => {
        if (input === 0) pit.acknowledged();
      };
      this.power = new PowerManagement(clock, irq(SCI_IRQ), () => {
        this.end({ kind: 'off' });
      });
      this.power.connect(ports);
      connectPort61(ports, pit);
      connectPort92(ports, reset);
      const rtc = new Rtc(clock, irq(8));
      rtc.connect(ports);
      storeMemorySizes(rtc, config.memory);
      const processors = config.processors ?? 1;
      rtc.store(CMOS_OTHER_PROCESSORS, processors - 1);
      this.keyboard = new I8042(irq(1), reset);
      this.keyboard.connect(ports);
      this.vga = new Vga(clock);
      this.vga.connect(ports);
      this.pci = new PciBus({ ports, mmio }, irq, reset);
      this.pci.connect();
      this.pci.add(1, 1, connectIde(ports, irq, config.ide ?? []));

      // What was asked for.
      this.serials = (config.serials ?? []).map((channel, index) => {
        const place = SERIAL_PORTS[index];
        if (channel === undefined || place === undefined) return undefined;
        const uart = new Uart(channel, irq(place.irq));
        uart.connect(ports, place.base);
        return uart;
      });
      const virtio: VirtioDevice[] = (config.virtioDisks ?? []).map((disk, i) => new VirtioBlock(disk, `disk${i}`));
      for (const { backend, mac } of config.networks ?? []) virtio.push(new VirtioNet(backend, mac));
      if (config.virtioConsole !== undefined) virtio.push(new VirtioConsole(config.virtioConsole));
      for (const device of virtio) this.pci.add(this.pci.freeSlot, 0, new VirtioPci(device, this.memory).function);
      const { debugConsole, debugExit } = config;
      if (debugConsole !== undefined) {
        connectDebugPort(ports, (byte) => {
          debugConsole.send(byte);
        });
      }
      if (debugExit !== undefined) {
        connectDebugExit(
          ports,
          (status) => {
            this.end({ kind: 'exit', status });
          },
          debugExit.base,
          debugExit.length,
        );
      }

      const tprExits = (nvmm.capability.vcpuConfSupport & VCPU_CONF_TPR) !== 0n;
      const cpus = Array.from({ length: processors }, (_, id) => {
        const apic = new LocalApic({ id, clock, bus: this.#apics, external: id === 0 ? pic : undefined });
        apic.onAcknowledge = (vector) => {
          if (ioApic.enabled(IO_APIC_TIMER) && ioApic.vector(IO_APIC_TIMER) === vector) pit.acknowledged();
        };
        const timeStamp = (): bigint => cpus[0]!.timeStamp;
        return new Cpu({
          machine: this.#machine,
          id,
          apic,
          clock,
          ports,
          mmio,
          tprExits,
          onShutdown: reset,
          timeStamp,
        });
      });
      enter(cpus[0]!.vcpu, this.memory, this.#load(config, processors));
      this.processors = new Processors({
        clock,
        cpus,
        blocking: config.blocking,
        onDead: () => {
          this.end({ kind: 'halt' });
        },
      });
      pic.onPending = () => {
        cpus[0]!.interrupt();
      };
      this.#timer = new HostTimer(clock);
    } catch (error) {
      this.#machine.destroy();
      throw error;
    }
  }

  #load({ boot, memory: ram }: PcConfig, processors: number): ReturnType<typeof loadKernel> | undefined {
    const { memory } = this;
    const { kernel, bios, initrd, commandLine = '' } = boot;
    const tables = acpiTables(processors);
    const request = { memory, ram, commandLine, initrd };
    if (bios === undefined) {
      if (kernel === undefined) throw new ImageError('There is neither a kernel nor a BIOS to start.');
      this.pci.assignResources();
      memory.write(ROM_AREA, rsdp(ROM_AREA + ACPI_TABLES + tables.rsdt));
      memory.write(ROM_AREA + ACPI_TABLES, placeTables(tables, ROM_AREA + ACPI_TABLES));
      return loadKernel(request, kernel, boot.options);
    }
    const { gpa } = loadBios(memory, bios);
    const rom = this.#machine.allocate(bios.bytes.length);
    rom.bytes.set(bios.bytes);
    // Writable, unlike a ROM: processors write to descriptors and page tables themselves, where firmware has them in it, and
    // that is no instruction that could be completed otherwise. A reset brings the image back.
    this.#machine.mapGpa(rom, gpa);
    const files = new Map([['etc/e820', e820File(ram)], ...acpiFiles(tables), ...(boot.files ?? [])]);
    if (kernel !== undefined) files.set('genroms/kernel.bin', loadRealMode(request, kernel));
    connectFirmwareConfig(this.ports, files, processors);
    return undefined;
  }

  /** Ends {@link run}, at once. Only the first outcome counts. */
  end(outcome: Outcome): void {
    this.#outcome ??= outcome;
    this.processors.stop();
  }

  /** Runs the guest until the end. @throws GuestError, NvmmError */
  async run(): Promise<Outcome> {
    await this.processors.run();
    return this.#outcome ?? { kind: 'quit' };
  }

  /** The registers of all processors, as text; undefined while one runs. */
  dump(): string | undefined {
    const vcpus = this.processors.all.map(({ vcpu }) => vcpu);
    return vcpus.some((vcpu) => vcpu.running) ? undefined : vcpus.map((vcpu) => vcpu.dump()).join('\n');
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
    this.#machine.destroy();
  }
}

/** Memory from 0 up to 3 GiB, VGA and ROM area included, and the rest from 4 GiB. */
function allocateMemory(machine: Machine, size: number): MemoryWindow[] {
  const { low, high } = split(size);
  const windows: MemoryWindow[] = [];
  for (const { gpa, length } of [
    { gpa: 0, length: low },
    { gpa: HIGH, length: high },
  ]) {
    if (length === 0) continue;
    const memory: HostMemory = machine.allocate(length);
    machine.mapGpa(memory, gpa);
    for (let offset = 0; offset < length; offset += WINDOW) {
      windows.push({ gpa: gpa + offset, bytes: memory.view(offset, Math.min(WINDOW, length - offset)) });
    }
  }
  return windows;
}

/** Where BIOSes look for the number of processors besides the first. */
const CMOS_OTHER_PROCESSORS = 0x5f;

/** Where BIOSes look for the size of memory. */
function storeMemorySizes(rtc: Rtc, size: number): void {
  const { low, high } = split(size);
  const store16 = (index: number, value: number): void => {
    const limited = Math.min(value, 0xffff);
    rtc.store(index, limited & 0xff, limited >> 8);
  };
  const extended = Math.floor((low - EXTENDED) / KiB);
  store16(0x15, Math.ceil(CONVENTIONAL_END / KiB));
  store16(0x17, extended);
  store16(0x30, extended);
  store16(0x34, Math.max(0, Math.floor((low - 16 * MiB) / (64 * KiB))));
  const above = high / (64 * KiB);
  rtc.store(0x5b, above & 0xff, (above >> 8) & 0xff, (above >> 16) & 0xff);
  rtc.store(0x3d, 0x02); // boot from the first disk
}

/** The memory for firmware: all of it, without what firmware takes for itself. */
function e820File(ram: number): Uint8Array {
  const map = memoryMap(ram)
    .filter(({ type }) => type === 1)
    .map((entry) => (entry.base === 0 ? { ...entry, size: VGA_WINDOW } : entry));
  const file = Buffer.alloc(20 * map.length);
  map.forEach(({ base, size, type }, index) => {
    file.writeBigUInt64LE(BigInt(base), 20 * index);
    file.writeBigUInt64LE(BigInt(size), 20 * index + 8);
    file.writeUInt32LE(type, 20 * index + 16);
  });
  return file;
}
