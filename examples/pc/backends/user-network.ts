// A network with one other host on it, the gateway, without any privilege: it gives the guest an address by DHCP (RFC 2131) and
// answers ARP and pings. Nothing is passed on to other networks.
import type { NetBackend } from './net.js';

/** The addresses that QEMU's user-mode network has. */
export const USER_NETWORK = {
  gateway: [10, 0, 2, 2],
  guest: [10, 0, 2, 15],
  mask: [255, 255, 255, 0],
  gatewayMac: [0x52, 0x55, 10, 0, 2, 2],
} as const;

const ETHERNET = 14;
const TYPE_IPV4 = 0x0800;
const TYPE_ARP = 0x0806;
const IPV4 = 20;
const PROTOCOL_ICMP = 1;
const PROTOCOL_UDP = 17;
const UDP = 8;
const DHCP_SERVER = 67;
const DHCP_CLIENT = 68;
const DHCP_FIXED = 240;
const DHCP_COOKIE = 0x63825363;
const DISCOVER = 1;
const OFFER = 2;
const REQUEST = 3;
const ACK = 5;
const NAK = 6;
const LEASE = 86_400;
const BROADCAST = [255, 255, 255, 255];

const same = (bytes: Uint8Array, expected: readonly number[]): boolean =>
  bytes.length === expected.length && expected.every((value, i) => bytes[i] === value);

export class UserNetwork implements NetBackend {
  onFrame: (frame: Uint8Array) => void = () => undefined;

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** What is cut off, or not understood, is lost. */
  send(bytes: Uint8Array): void {
    const frame = Buffer.from(bytes);
    if (frame.length < ETHERNET) return;
    const [to, payload] = [frame.subarray(6, 12), frame.subarray(ETHERNET)];
    const type = frame.readUInt16BE(12);
    if (type === TYPE_ARP) this.#arp(to, payload);
    if (type === TYPE_IPV4) this.#ipv4(to, payload);
  }

  #reply(to: Uint8Array, type: number, payload: Uint8Array): void {
    const header = Buffer.alloc(ETHERNET);
    header.set(to);
    header.set(USER_NETWORK.gatewayMac, 6);
    header.writeUInt16BE(type, 12);
    this.onFrame(Buffer.concat([header, payload]));
  }

  #arp(to: Uint8Array, packet: Buffer): void {
    const isForIpv4 =
      packet.length >= 28 && packet.readUInt32BE(0) === 0x0001_0800 && packet.readUInt16BE(4) === 0x0604;
    if (!isForIpv4 || packet.readUInt16BE(6) !== 1 || !same(packet.subarray(24, 28), USER_NETWORK.gateway)) return;
    const reply = Buffer.from(packet.subarray(0, 28));
    reply.writeUInt16BE(2, 6);
    reply.set(USER_NETWORK.gatewayMac, 8);
    reply.set(USER_NETWORK.gateway, 14);
    reply.set(packet.subarray(8, 18), 18);
    this.#reply(to, TYPE_ARP, reply);
  }

  #ipv4(to: Uint8Array, packet: Buffer): void {
    if (packet.length < IPV4) return;
    const headerLength = 4 * (packet[0]! & 15);
    const length = packet.readUInt16BE(2);
    const isFragment = (packet.readUInt16BE(6) & 0x3fff) !== 0;
    if (packet[0]! >> 4 !== 4 || headerLength < IPV4 || length < headerLength || length > packet.length || isFragment)
      return;
    const content = packet.subarray(headerLength, length);
    const [source, destination] = [packet.subarray(12, 16), packet.subarray(16, 20)];
    if (packet[9] === PROTOCOL_ICMP && same(destination, USER_NETWORK.gateway)) this.#icmp(to, source, content);
    if (packet[9] === PROTOCOL_UDP) this.#udp(to, content);
  }

  #replyIpv4(to: Uint8Array, protocol: number, destination: Uint8Array | readonly number[], content: Uint8Array): void {
    const header = Buffer.alloc(IPV4);
    header[0] = 0x45;
    header.writeUInt16BE(IPV4 + content.length, 2);
    header.set([64, protocol], 8);
    header.set(USER_NETWORK.gateway, 12);
    header.set(destination, 16);
    header.writeUInt16BE(checksum(header), 10);
    this.#reply(to, TYPE_IPV4, Buffer.concat([header, content]));
  }

  #icmp(to: Uint8Array, source: Uint8Array, message: Buffer): void {
    const isEchoRequest = message.length >= 8 && message[0] === 8 && message[1] === 0;
    if (!isEchoRequest) return;
    const reply = Buffer.from(message);
    reply[0] = 0;
    reply.writeUInt16BE(0, 2);
    reply.writeUInt16BE(checksum(reply), 2);
    this.#replyIpv4(to, PROTOCOL_ICMP, source, reply);
  }

  #udp(to: Uint8Array, datagram: Buffer): void {
    if (datagram.length < UDP || datagram.readUInt16BE(0) !== DHCP_CLIENT || datagram.readUInt16BE(2) !== DHCP_SERVER)
      return;
    const answer = dhcp(datagram.subarray(UDP));
    if (answer === undefined) return;
    const header = Buffer.alloc(UDP); // without a checksum, which 0 stands for
    header.writeUInt16BE(DHCP_SERVER, 0);
    header.writeUInt16BE(DHCP_CLIENT, 2);
    header.writeUInt16BE(UDP + answer.length, 4);
    this.#replyIpv4(to, PROTOCOL_UDP, BROADCAST, Buffer.concat([header, answer]));
  }
}

/** The answer to a message of a DHCP client: it gets the one address that there is. */
function dhcp(message: Buffer): Buffer | undefined {
  if (message.length < DHCP_FIXED || message[0] !== 1 || message.readUInt32BE(236) !== DHCP_COOKIE) return undefined;
  const options = dhcpOptions(message);
  const wanted = options.get(50) ?? message.subarray(12, 16); // asked for, or in use already
  const kind = options.get(53)?.[0];
  if (kind !== DISCOVER && kind !== REQUEST) return undefined;
  const answerKind = kind === DISCOVER ? OFFER : same(wanted, USER_NETWORK.guest) ? ACK : NAK;
  const answer = Buffer.alloc(DHCP_FIXED);
  message.copy(answer, 0, 0, 44); // the transaction, the client's hardware address
  answer[0] = 2;
  answer.fill(0, 12, 28);
  if (answerKind !== NAK) answer.set(USER_NETWORK.guest, 16);
  answer.set(USER_NETWORK.gateway, 20);
  answer.writeUInt32BE(DHCP_COOKIE, 236);
  const lease = Buffer.alloc(4);
  lease.writeUInt32BE(LEASE);
  const more = answerKind === NAK ? [] : [1, 4, ...USER_NETWORK.mask, 3, 4, ...USER_NETWORK.gateway, 51, 4, ...lease];
  return Buffer.concat([answer, Buffer.from([53, 1, answerKind, 54, 4, ...USER_NETWORK.gateway, ...more, 255])]);
}

function dhcpOptions(message: Buffer): Map<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = DHCP_FIXED; at + 1 < message.length && message[at] !== 255;) {
    if (message[at] === 0) at++;
    else {
      options.set(message[at]!, message.subarray(at + 2, at + 2 + message[at + 1]!));
      at += 2 + message[at + 1]!;
    }
  }
  return options;
}

/** The internet checksum (RFC 1071). */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
