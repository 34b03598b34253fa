// Made from ticks.S by "npm run guests".
const hex =
  'eb0100fa31c08ed88ed0bc0070c70680005c7ca38200b011e620b020e621b004e621b001e621b0fee621b034e643b09c' +
  'e640b02ee640fb803e027c007501f4833e677c0a72f1fabe697cbaf803ac84c07403eeebf8ba0105b003eef450ff0667' +
  '7cb020e62058cf000074656e207469636b730a00';

/** The program, and the guest-physical address that it was assembled for. */
export const ticks = { origin: 0x7c00, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) };
