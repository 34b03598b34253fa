// -nic: where the frames of a network card go and come from.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { UserNetwork } from './user-network.js';

/** An Ethernet segment, as one card sees it. */
export interface NetBackend {
  /** A frame from the guest, without its checksum. */
  send(frame: Uint8Array): void;
  /** Set by the card: called with each frame for the guest, which it keeps. */
  onFrame: (frame: Uint8Array) => void;
  close(): Promise<void>;
}

export interface UdpPlace {
  readonly host: string;
  readonly port: number;
}

export type NetOptions =
  | { readonly kind: 'user' }
  /** Frames as datagrams, from and to one other place: QEMU's -netdev socket,udp=... */
  | { readonly kind: 'socket'; readonly udp: UdpPlace; readonly local: UdpPlace };

export async function openNetwork(options: NetOptions): Promise<NetBackend> {
  return options.kind === 'user' ? new UserNetwork() : await openUdp(options.udp, options.local);
}

async function openUdp(remote: UdpPlace, local: UdpPlace): Promise<NetBackend> {
  const socket = createSocket(local.host.includes(':') ? 'udp6' : 'udp4');
  socket.bind(local.port, local.host);
  await once(socket, 'listening');
  socket.on('error', () => undefined); // nobody listens there yet: the frame is lost
  const backend: NetBackend = {
    send: (frame) => {
      socket.send(frame, remote.port, remote.host);
    },
    onFrame: () => undefined,
    close: () =>
      new Promise((resolve) => {
        socket.close(() => {
          resolve();
        });
      }),
  };
  socket.on('message', (frame, { port }) => {
    if (port === remote.port) backend.onFrame(frame);
  });
  return backend;
}
