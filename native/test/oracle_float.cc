#include "oracle_float.h"

#include <utility>

namespace nvmm::oracle {
namespace {

// An IEEE number with so many bits of exponent and fraction, as an integer.
uint64_t randomIeee(Random& random, unsigned exponentBits, unsigned fractionBits) {
  const uint64_t fractionMask = (uint64_t{1} << fractionBits) - 1, exponentMask = (uint64_t{1} << exponentBits) - 1;
  const uint64_t bias = exponentMask >> 1;
  uint64_t fraction = 0, exponent = 0;
  switch (random.below(6)) {
    case 0: break;
    case 1: fraction = fractionMask - random.below(2); break;
    case 2: fraction = uint64_t{1} << random.below(fractionBits); break;
    case 3: fraction = random.below(4); break;
    default: fraction = random.next() & fractionMask; break;
  }
  switch (random.below(10)) {
    case 0: exponent = random.below(2); break;                 // zeros, denormals and their neighbours
    case 1: exponent = exponentMask - random.below(2); break;  // infinities, NaNs, the largest numbers
    case 2: exponent = random.next() & exponentMask; break;
    case 3: exponent = bias + fractionBits - 4 + random.below(8); break;  // integers begin here
    case 4: exponent = bias + 29 + random.below(4); break;                // the limits of the integers
    case 5: exponent = bias + 61 + random.below(4); break;
    default: exponent = bias - 4 + random.below(9); break;
  }
  return (random.next() & 1) << (exponentBits + fractionBits) | (exponent & exponentMask) << fractionBits | fraction;
}

void randomExtended(Random& random, uint64_t& significand, uint16_t& signExponent) {
  constexpr uint64_t kInteger = uint64_t{1} << 63;
  constexpr unsigned kFractionBits = 48;  // of the number that this one is made from: 63 do not fit beside the exponent
  const uint64_t number = randomIeee(random, 15, kFractionBits);
  signExponent = static_cast<uint16_t>(number >> kFractionBits);
  significand = number << 15 & ~kInteger;
  if (random.chance(50)) significand |= random.next() & 0x7fff;
  if (random.chance(30))
    signExponent = static_cast<uint16_t>((signExponent & 0x8000) | (0x3fff - 70 + random.below(140)));
  if (signExponent & 0x7fff) significand |= kInteger;
  if (random.chance(4)) significand ^= kInteger;  // what the x87 does not support, and pseudo-denormals
}

uint64_t randomLane(Random& random, unsigned kind) {
  switch (kind) {
    case 0: return randomIeee(random, 11, 52);
    case 1: return randomIeee(random, 8, 23) | randomIeee(random, 8, 23) << 32;
    default: return interesting(random);
  }
}

}  // namespace

cpu::FpuImage initialFpu() {
  cpu::FpuImage fpu = {};
  fpu.fcw = 0x37f;
  fpu.mxcsr = 0x1f80;
  fpu.mxcsrMask = 0xffff;
  return fpu;
}

cpu::FpuImage randomFpu(Random& random) {
  constexpr uint16_t kExceptions = 0x3f, kStackFault = 0x40, kSummary = 0x8080, kTopAndCodes = 0x7f00;
  cpu::FpuImage fpu = initialFpu();
  if (random.chance(50)) fpu.fcw = static_cast<uint16_t>((random.next() & 0x1f00) | 0x7f);
  if (random.chance(15)) fpu.fcw = static_cast<uint16_t>((random.next() & 0x1f3f) | 0x40);
  fpu.fsw = static_cast<uint16_t>(random.next() & kTopAndCodes);
  if (random.chance(25)) fpu.fsw |= static_cast<uint16_t>(random.next() & (kExceptions | kStackFault));
  if (fpu.fsw & ~fpu.fcw & kExceptions) {
    if (random.chance(80))
      fpu.fsw &= static_cast<uint16_t>(~kExceptions);
    else
      fpu.fsw |= kSummary;
  }
  fpu.ftw = static_cast<uint8_t>(random.chance(70) ? 0xff : random.next());
  for (auto& st : fpu.st) randomExtended(random, st.significand, st.signExponent);
  if (random.chance(20)) fpu.st[1 + random.below(7)] = fpu.st[0];
  if (random.chance(30))  // as MMX instructions leave them
    for (auto& st : fpu.st) st.significand = interesting(random), st.signExponent = 0xffff;

  if (random.chance(50)) fpu.mxcsr = 0x1f80 | static_cast<uint32_t>(random.next() & 0xe07f);  // RC, FTZ, DAZ, flags
  if (random.chance(20)) fpu.mxcsr = static_cast<uint32_t>(random.next() & 0xffff);
  const unsigned kind = random.below(4);
  for (auto& xmm : fpu.xmm)
    for (uint64_t& lane : xmm.lane) lane = randomLane(random, kind == 3 ? random.below(3) : kind);
  if (random.chance(20)) fpu.xmm[random.below(8)] = fpu.xmm[random.below(8)];
  if (random.chance(2)) {  // a component in its initial state, but for the pointers
    const cpu::FpuImage initial = initialFpu();
    if (random.chance(50))
      std::memcpy(fpu.xmm, initial.xmm, random.chance(50) ? sizeof fpu.xmm : sizeof fpu.xmm / 2);
    else
      fpu.fcw = initial.fcw, fpu.fsw = 0, fpu.ftw = 0, std::memcpy(fpu.st, initial.st, sizeof fpu.st);
  }
  fpu.fop = static_cast<uint16_t>(random.next() & 0x7ff);
  fpu.fip = random.next() >> (17 + random.below(40));  // of what user mode can have executed
  fpu.fdp = random.next() >> (17 + random.below(40));
  return fpu;
}

void randomArea(Random& random, uint8_t (&bytes)[kXsaveArea]) {
  constexpr unsigned kSt = 32, kXmm = 160, kUnused = 416, kHeader = 512, kXcompBv = kHeader + 8,
                     kReserved = kHeader + 16, kIgnored = kHeader + 24;
  const cpu::FpuImage image = randomFpu(random);
  for (unsigned i = 0; i < kXsaveArea; i += 8) store(bytes + i, i < kHeader ? random.next() : 0);
  // All but the upper parts of the x87's registers, which are ignored, as is what is after the XMM registers.
  std::memcpy(bytes, &image, kSt);
  for (unsigned i = 0; i < 8; i++) {
    store(bytes + kSt + 16 * i, image.st[i].significand);
    store(bytes + kSt + 16 * i + 8, image.st[i].signExponent);
  }
  std::memcpy(bytes + kXmm, image.xmm, kUnused - kXmm);
  if (random.chance(20)) store(bytes, random.next());       // FCW, FSW, FTW, FOP with their reserved bits
  if (random.chance(20)) store(bytes + 8, random.next());   // FIP
  if (random.chance(20)) store(bytes + 16, random.next());  // FDP
  if (random.chance(20)) store(bytes + 24, static_cast<uint32_t>(interesting(random)));
  if (random.chance(20)) store(bytes + 28, static_cast<uint32_t>(random.next()));

  bytes[kHeader] = static_cast<uint8_t>(random.below(4));
  switch (random.below(16)) {  // not bit 63 of XCOMP_BV: the compacted form is not for the models
    case 0: store(bytes + kHeader, uint64_t{1} << (48 + random.below(16))); break;
    case 1: store(bytes + kXcompBv, uint64_t{1} << random.below(63)); break;
    case 2: store(bytes + kReserved, interesting(random)); break;
    case 3: store(bytes + kIgnored + 8 * random.below(5), interesting(random)); break;
    default: break;
  }
}

void randomOperand(Random& random, uint8_t (&bytes)[16]) {
  const unsigned kind = random.below(6);
  if (kind < 4) {
    store(bytes, randomLane(random, kind < 2 ? kind : 2));
    store(bytes + 8, randomLane(random, kind < 2 ? kind : 2));
  } else if (kind == 4) {
    uint64_t significand;
    uint16_t signExponent;
    randomExtended(random, significand, signExponent);
    store(bytes, significand);
    store(bytes + 8, signExponent);
  } else {  // packed decimal
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.below(10) << 4 | random.below(10));
    bytes[9] = static_cast<uint8_t>(random.next() & 0x80);
  }
}

}  // namespace nvmm::oracle
