import { expect } from 'chai';
import fc from 'fast-check';
import { openNetwork } from '../../examples/pc/backends/net.js';
import { checksum, UserNetwork, USER_NETWORK } from '../../examples/pc/backends/user-network.js';

const MAC = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const EVERYBODY = [255, 255, 255, 255, 255, 255];
const { gateway, gatewayMac, guest } = USER_NETWORK;

/** What the network answers to a frame. */
function answers(...frame: (readonly number[] | Uint8Array)[]): Buffer[] {
  const network = new UserNetwork();
  const received: Buffer[] = [];
  network.onFrame = (answer) => received.push(Buffer.from(answer));
  network.send(Buffer.concat(frame.map((part) => Buffer.from(part))));
  return received;
}

const ethernet = (to: readonly number[], type: number): number[] => [...to, ...MAC, type >> 8, type & 0xff];

function ipv4(protocol: number, to: readonly number[], content: Uint8Array): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + content.length, 2);
  header.set([64, protocol], 8);
  header.set(guest, 12);
  header.set(to, 16);
  return Buffer.concat([header, content]);
}

describe('pc: the user network', () => {
  it('has a gateway that can be found by ARP', () => {
    const ask = (address: readonly number[]): Buffer[] =>
      answers(ethernet(EVERYBODY, 0x0806), [0, 1, 8, 0, 6, 4, 0, 1], MAC, guest, [0, 0, 0, 0, 0, 0], address);
    const [reply] = ask(gateway);
    expect([...reply!.subarray(0, 12)]).to.deep.equal([...MAC, ...gatewayMac]);
    expect([...reply!.subarray(20)]).to.deep.equal([0, 2, ...gatewayMac, ...gateway, ...MAC, ...guest]);
    expect(ask([10, 0, 2, 77])).to.deep.equal([]);
  });

  it('answers pings, with sums that are right', () => {
    const ping = Buffer.from([8, 0, 0, 0, 0x12, 0x34, 0, 1, ...Buffer.from('odd length')]);
    const frame = (to: readonly number[]) => answers(ethernet(gatewayMac, 0x0800), ipv4(1, to, ping));
    const packet = frame(gateway)[0]!.subarray(14);
    expect([...packet.subarray(12, 20)]).to.deep.equal([...gateway, ...guest]);
    expect([checksum(packet.subarray(0, 20)), checksum(packet.subarray(20))]).to.deep.equal([0, 0]);
    expect([packet[20], packet.toString('latin1', 28)]).to.deep.equal([0, 'odd length']);
    expect(frame([8, 8, 8, 8]), 'nobody else').to.deep.equal([]);
  });

  it('gives an address by DHCP', () => {
    const ask = (kind: number, wanted?: readonly number[]): Map<number, number[]> & { address?: number[] } => {
      const message = Buffer.alloc(240);
      message.set([1, 1, 6, 0, 0xca, 0xfe, 0xba, 0xbe]);
      message.set(MAC, 28);
      message.writeUInt32BE(0x63825363, 236);
      const options = [0, 53, 1, kind, ...(wanted === undefined ? [] : [50, 4, ...wanted]), 255];
      const dhcp = Buffer.concat([message, Buffer.from(options)]);
      const udp = Buffer.from([0, 68, 0, 67, (8 + dhcp.length) >> 8, (8 + dhcp.length) & 0xff, 0, 0]);
      const [frame] = answers(ethernet(EVERYBODY, 0x0800), ipv4(17, [255, 255, 255, 255], Buffer.concat([udp, dhcp])));
      const reply = frame!.subarray(14 + 28);
      expect([reply[0], reply.readUInt32BE(4), [...reply.subarray(28, 34)]]).to.deep.equal([2, 0xcafebabe, MAC]);
      const found: ReturnType<typeof ask> = new Map();
      for (let at = 240; reply[at] !== 255; at += 2 + reply[at + 1]!) {
        found.set(reply[at]!, [...reply.subarray(at + 2, at + 2 + reply[at + 1]!)]);
      }
      found.address = [...reply.subarray(16, 20)];
      return found;
    };
    const offer = ask(1);
    expect([offer.get(53), offer.address]).to.deep.equal([[2], [...guest]]);
    const ack = ask(3, guest);
    expect([ack.get(53), ack.get(1), ack.get(3)]).to.deep.equal([[5], [255, 255, 255, 0], [...gateway]]);
    expect(ask(3, [192, 168, 0, 9]).get(53), 'an address of another network').to.deep.equal([6]);
  });

  it('loses what it does not understand', () => {
    const headers = [[], ethernet(gatewayMac, 0x0800), ethernet(gatewayMac, 0x0806)];
    const rest = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      fc
        .uint8Array({ maxLength: 300 })
        .map((bytes) => ipv4(17, gateway, Buffer.from([0, 68, 0, 67, 0, 0, 0, 0, ...bytes]))),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => ipv4(1, gateway, bytes)),
    );
    fc.assert(
      fc.property(fc.constantFrom(...headers), rest, (header, bytes) => {
        answers(header, bytes);
      }),
    );
  });
});

describe('pc: frames through datagrams', () => {
  it('go from one card to the other', async () => {
    const [a, b] = [20_000 + (process.pid % 10_000), 30_000 + (process.pid % 10_000)];
    const at = (port: number) => ({ host: '127.0.0.1', port });
    const one = await openNetwork({ kind: 'socket', udp: at(b), local: at(a) });
    const two = await openNetwork({ kind: 'socket', udp: at(a), local: at(b) });
    const frame = await new Promise<Uint8Array>((resolve) => {
      two.onFrame = resolve;
      one.send(Buffer.from('over there'));
    });
    expect(Buffer.from(frame).toString()).to.equal('over there');
    await one.close();
    await two.close();
  });
});
