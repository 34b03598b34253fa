// Two ports that exist on virtual machines only, for programs that are being tested.
import type { Bus } from '../bus.js';

/** isa-debug-exit: a write of N ends the whole VMM with the status 2N + 1. */
export function connectDebugExit(ports: Bus, exit: (status: number) => void, base = 0x501, length = 2): void {
  ports.add(
    base,
    length,
    {
      read: () => 0,
      write: (_, value) => {
        exit((value * 2 + 1) & 0xff);
      },
    },
    4,
  );
}

/** SeaBIOS' debug port: a byte written is a byte of text, and reading tells that it is there. */
export function connectDebugPort(ports: Bus, print: (byte: number) => void): void {
  ports.add(0x402, 1, {
    read: () => 0xe9,
    write: (_, value) => {
      print(value);
    },
  });
}
