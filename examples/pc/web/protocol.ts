// What the server and the page tell each other over their WebSocket. Binary messages are the bytes of the serial port.

export interface ProcessorView {
  readonly id: number;
  readonly state: 'running' | 'halted' | 'waiting';
  /** Names and hexadecimal values; none while they can't be looked at. */
  readonly registers: readonly (readonly [name: string, value: string])[];
}

/** From the server, twice a second and after each command. */
export interface Snapshot {
  readonly state: 'running' | 'paused';
  /** One line about the machine. */
  readonly machine: string;
  /** Milliseconds, of the server's clock. */
  readonly time: number;
  /** How often the guest has exited, by reason. */
  readonly exits: Readonly<Record<string, number>>;
  readonly screen: readonly string[];
  readonly processors: readonly ProcessorView[];
}

/** From the page. */
export type Command =
  | { readonly command: 'pause' | 'resume' | 'reset' | 'stop' }
  /** A character, or a chord by the names of the monitor's sendkey. */
  | { readonly command: 'key'; readonly key: string };
