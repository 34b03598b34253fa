// QEMU's firmware configuration device: named files for the firmware, read byte by byte.
import type { Bus } from '../bus.js';

const SIGNATURE = 0x0000;
const INTERFACE = 0x0001;
const PROCESSORS = 0x0005;
const MAX_PROCESSORS = 0x000f;
const DIRECTORY = 0x0019;
const FIRST_FILE = 0x0020;
const NAME_SIZE = 56;

const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1');

/** @param files by their names, as SeaBIOS looks for them: 'bootorder', 'etc/...', 'vgaroms/...'. */
export function connectFirmwareConfig(ports: Bus, files: ReadonlyMap<string, Uint8Array>, processors = 1): void {
  const items = new Map<number, Uint8Array>([
    [SIGNATURE, ascii('QEMU')],
    [INTERFACE, Uint8Array.of(1, 0, 0, 0)], // through these ports, no DMA
    [PROCESSORS, Uint8Array.of(processors, 0)],
    [MAX_PROCESSORS, Uint8Array.of(processors, 0)],
  ]);
  const directory = Buffer.alloc(4 + files.size * (8 + NAME_SIZE));
  directory.writeUInt32BE(files.size);
  [...files].forEach(([name, content], index) => {
    const at = 4 + index * (8 + NAME_SIZE);
    directory.writeUInt32BE(content.length, at);
    directory.writeUInt16BE(FIRST_FILE + index, at + 4);
    directory.write(name, at + 8, NAME_SIZE - 1, 'latin1');
    items.set(FIRST_FILE + index, content);
  });
  items.set(DIRECTORY, directory);

  let selected = items.get(SIGNATURE);
  let at = 0;
  ports.add(
    0x510,
    2,
    {
      // The data port is a byte wide, and every read moves on; behind the end there are zeros.
      read: (offset, size) => (offset === 1 && size === 1 ? (selected?.[at++] ?? 0) : 0),
      write: (offset, value, size) => {
        if (offset !== 0 || size !== 2) return;
        selected = items.get(value);
        at = 0;
      },
    },
    2,
  );
}
