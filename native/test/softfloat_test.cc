// The arithmetic of the software CPU against the host's: random and special operands, all rounding modes, results and
// flags. softfloat_test [--cases N] [--seed N]; exits with 77 where the host is not an x86-64.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "mock/cpu/softfloat.h"
#include "mock/cpu/transcendental.h"

#if defined(__x86_64__)

namespace {

using namespace nvmm::cpu;

// ---- Random operands ------------------------------------------------------------------------------------------------

struct Random {
  uint64_t state;
  uint64_t next() {  // splitmix64
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  unsigned below(unsigned n) { return static_cast<unsigned>(next() % n); }

  // Significands with runs of equal bits, so that roundings are close calls.
  uint64_t bits() {
    switch (below(6)) {
      case 0: return next();
      case 1: return next() << below(64);
      case 2: return ~(next() << below(64));
      case 3: return uint64_t{1} << below(64);
      case 4: return ~uint64_t{0} << below(64);
      default: return below(2) ? 0 : ~uint64_t{0};
    }
  }
  // Biased exponents: the edges, the middle, anything.
  unsigned exponent(unsigned max) {
    switch (below(8)) {
      case 0: return 0;
      case 1: return max;
      case 2: return 1 + below(4);
      case 3: return max - 1 - below(4);
      case 4: return below(max + 1);
      default: return max / 2 - 35 + below(70);
    }
  }
  void operand(uint32_t& bits32) {
    bits32 = below(2) << 31 | (exponent(255) & 0xff) << 23 | static_cast<uint32_t>(bits() >> 41);
  }
  void operand(uint64_t& bits64) {
    bits64 = static_cast<uint64_t>(below(2)) << 63 | static_cast<uint64_t>(exponent(2047) & 2047) << 52 | bits() >> 12;
  }
  void operand(Float80& bits80) {
    uint64_t significand = bits();
    unsigned biased = exponent(32767) & 32767;
    if (biased && below(16)) significand |= uint64_t{1} << 63;
    bits80 = {significand, static_cast<uint16_t>(below(2) << 15 | biased)};
  }
};

// ---- The host's operations ------------------------------------------------------------------------------------------

struct alignas(16) Memory80 {
  uint8_t bytes[10];
};
Memory80 toMemory(Float80 v) {
  Memory80 m;
  std::memcpy(m.bytes, &v.significand, 8);
  std::memcpy(m.bytes + 8, &v.signExponent, 2);
  return m;
}
Float80 fromMemory(const Memory80& m) {
  Float80 v;
  std::memcpy(&v.significand, m.bytes, 8);
  std::memcpy(&v.signExponent, m.bytes + 8, 2);
  return v;
}

struct Outcome {
  uint64_t value = 0;
  uint16_t high = 0;
  unsigned flags = 0;
  bool c1 = false;
  unsigned condition = 0;

  bool operator==(const Outcome& o) const {
    return value == o.value && high == o.high && flags == o.flags && c1 == o.c1 && condition == o.condition;
  }
};

uint16_t controlWord;
uint32_t mxcsr;

template <class F>
Outcome onX87(F operation) {  // stores the status word, and then the result, since stores change C1
  Outcome out;
  Memory80 result = {};
  uint16_t status;
  asm volatile("fninit\n fldcw %0" ::"m"(controlWord));
  operation(result, status);
  asm volatile("fninit");
  Float80 v = fromMemory(result);
  out.value = v.significand;
  out.high = v.signExponent;
  out.flags = status & 0x3f;
  out.c1 = status >> 9 & 1;
  out.condition = status & 0x4500;
  return out;
}

template <class F>
Outcome onSse(F operation) {
  Outcome out;
  uint32_t usual = 0x1f80, after;
  asm volatile("ldmxcsr %0" ::"m"(mxcsr));
  operation(out);
  asm volatile("stmxcsr %0\n ldmxcsr %1" : "=m"(after) : "m"(usual));
  out.flags = after & 0x3f;
  return out;
}

// ---- The comparison -------------------------------------------------------------------------------------------------

unsigned long cases = 0, failures = 0;

template <typename A, typename B>
void report(const char* name, A a, B b, const Outcome& host, const Outcome& ours) {
  ++cases;
  if (host == ours) return;
  if (++failures > 40) return;
  auto print = [](auto v) {
    if constexpr (sizeof v > 8) {
      std::printf(" %04x.%016llx", v.signExponent, static_cast<unsigned long long>(v.significand));
    } else {
      std::printf(" %0*llx", static_cast<int>(sizeof v * 2), static_cast<unsigned long long>(v));
    }
  };
  std::printf("%s cw %04x mxcsr %04x:", name, controlWord, mxcsr);
  print(a);
  print(b);
  auto show = [](const char* who, const Outcome& o) {
    std::printf("; %s %04x.%016llx flags %02x c1 %d cc %x", who, o.high, static_cast<unsigned long long>(o.value),
                o.flags, o.c1, o.condition);
  };
  show("host", host);
  show("ours", ours);
  std::printf("\n");
}

FloatContext x87Context() {
  FloatContext c;
  c.x87 = true;
  c.rounding = static_cast<Rounding>(controlWord >> 10 & 3);
  return c;
}
FloatContext sseContext() {
  FloatContext c;
  c.rounding = static_cast<Rounding>(mxcsr >> 13 & 3);
  c.denormalsAreZero = mxcsr >> 6 & 1;
  c.flushToZero = mxcsr >> 15;
  return c;
}
unsigned precision() {
  constexpr unsigned kPrecisions[] = {24, 64, 53, 64};  // 1 is reserved
  return kPrecisions[controlWord >> 8 & 3];
}

Outcome outcome(const FloatContext& c, Float80 v) { return {v.significand, v.signExponent, c.flags, c.roundedUp, 0}; }
Outcome outcome(const FloatContext& c, uint64_t v) { return {v, 0, c.flags, false, 0}; }

using Binary = Number (*)(FloatContext&, const Number&, const Number&);

// Differences that are ours to choose are not looked at: C1 of an invalid operation.
void x87Binary(const char* name, Binary ours, Float80 a, Float80 b,
               void (*host)(const Memory80&, const Memory80&, Memory80&, uint16_t&)) {
  Memory80 ma = toMemory(a), mb = toMemory(b);
  Outcome h = onX87([&](Memory80& result, uint16_t& status) { host(ma, mb, result, status); });
  h.condition = 0;
  FloatContext c = x87Context();
  Number n = ours(c, unpack(c, a), unpack(c, b));
  report(name, a, b, h, outcome(c, pack<Float80>(c, n, precision())));
}

template <typename Bits>
void sseBinary(const char* name, Binary ours, Bits a, Bits b, void (*host)(Bits&, Bits)) {
  Outcome h = onSse([&](Outcome& out) {
    Bits r = a;
    host(r, b);
    out.value = r;
  });
  FloatContext c = sseContext();
  Number n = ours(c, unpack(c, a), unpack(c, b));
  report(name, a, b, h, outcome(c, pack<Bits>(c, n)));
}

#define X87_BINARY(name, op)                                                                           \
  x87Binary(#op, name, a, b, [](const Memory80& x, const Memory80& y, Memory80& r, uint16_t& status) { \
    asm volatile("fldt %3\n fldt %2\n " #op " %%st(1)\n fnstsw %1\n fstpt %0"                          \
                 : "=m"(r), "=m"(status)                                                               \
                 : "m"(x), "m"(y));                                                                    \
  })
#define SSE_BINARY(name, op, type)                                                           \
  sseBinary<type>(#op, name, a, b, [](type& x, type y) {                                     \
    sse([&](auto& vx, auto vy) { asm volatile(#op " %1, %0" : "+x"(vx) : "x"(vy)); }, x, y); \
  })

template <class F>
void sse(F f, uint32_t& x, uint32_t y) {
  float vx, vy;
  std::memcpy(&vx, &x, 4);
  std::memcpy(&vy, &y, 4);
  f(vx, vy);
  std::memcpy(&x, &vx, 4);
}
template <class F>
void sse(F f, uint64_t& x, uint64_t y) {
  double vx, vy;
  std::memcpy(&vx, &x, 8);
  std::memcpy(&vy, &y, 8);
  f(vx, vy);
  std::memcpy(&x, &vx, 8);
}

Number root(FloatContext& c, const Number&, const Number& b) { return squareRoot(c, b); }

void x87Round(Random& random) {
  controlWord = static_cast<uint16_t>(0x7f | random.below(4) << 8 | random.below(4) << 10);
  Float80 a, b;
  random.operand(a);
  random.operand(b);
  if (random.below(4) == 0)
    b.signExponent = static_cast<uint16_t>((b.signExponent & 0x8000) | (a.signExponent & 0x7fff));
  X87_BINARY(add, fadd);
  X87_BINARY(subtract, fsub);
  X87_BINARY(multiply, fmul);
  X87_BINARY(divide, fdiv);
  Memory80 ma = toMemory(a), mb = toMemory(b);
  {
    Outcome h = onX87([&](Memory80& r, uint16_t& status) {
      asm volatile("fldt %2\n fsqrt\n fnstsw %1\n fstpt %0" : "=m"(r), "=m"(status) : "m"(ma));
    });
    h.condition = 0;
    FloatContext c = x87Context();
    report("fsqrt", a, 0, h, outcome(c, pack<Float80>(c, squareRoot(c, unpack(c, a)), precision())));
  }
  {
    Outcome h = onX87([&](Memory80& r, uint16_t& status) {
      asm volatile("fldt %2\n frndint\n fnstsw %1\n fstpt %0" : "=m"(r), "=m"(status) : "m"(ma));
    });
    h.condition = 0;
    FloatContext c = x87Context();
    Number n = roundToInteger(c, unpack(c, a));
    Outcome o = outcome(c, Float80{});
    Float80 v = pack<Float80>(c, n);
    o.value = v.significand, o.high = v.signExponent;
    report("frndint", a, 0, h, o);
  }
  for (bool quiet : {false, true}) {
    Outcome h = onX87([&](Memory80&, uint16_t& status) {
      if (quiet) {
        asm volatile("fldt %2\n fldt %1\n fucompp\n fnstsw %0" : "=m"(status) : "m"(ma), "m"(mb));
      } else {
        asm volatile("fldt %2\n fldt %1\n fcompp\n fnstsw %0" : "=m"(status) : "m"(ma), "m"(mb));
      }
    });
    FloatContext c = x87Context();
    constexpr unsigned kConditions[] = {0x100, 0x4000, 0, 0x4500};
    Order order = compare(c, unpack(c, a), unpack(c, b), quiet);
    report(quiet ? "fucom" : "fcom", a, b, h, {0, 0, c.flags, false, kConditions[static_cast<unsigned>(order)]});
  }
  {
    uint32_t r32 = 0;
    Outcome h = onX87([&](Memory80&, uint16_t& status) {
      asm volatile("fldt %2\n fstps %0\n fnstsw %1" : "=m"(r32), "=m"(status) : "m"(ma));
    });
    h.value = r32;
    h.high = 0;
    FloatContext c = x87Context();
    uint32_t v = pack<uint32_t>(c, convert(c, unpack(c, a)));
    c.flags &= ~fpe::DE;  // a store does not look
    report("fst m32", a, 0, h, {v, 0, c.flags, c.roundedUp, 0});
  }
  {
    uint64_t r64 = 0;
    Outcome h = onX87([&](Memory80&, uint16_t& status) {
      asm volatile("fldt %2\n fstpl %0\n fnstsw %1" : "=m"(r64), "=m"(status) : "m"(ma));
    });
    h.value = r64;
    h.high = 0;
    FloatContext c = x87Context();
    uint64_t v = pack<uint64_t>(c, convert(c, unpack(c, a)));
    c.flags &= ~fpe::DE;
    report("fst m64", a, 0, h, {v, 0, c.flags, c.roundedUp, 0});
  }
  uint32_t a32;
  uint64_t a64;
  random.operand(a32);
  random.operand(a64);
  {
    Outcome h = onX87([&](Memory80& r, uint16_t& status) {
      asm volatile("flds %2\n fnstsw %1\n fstpt %0" : "=m"(r), "=m"(status) : "m"(a32));
    });
    h.condition = 0;
    FloatContext c = x87Context();
    report("fld m32", a32, 0, h, outcome(c, pack<Float80>(c, convert(c, unpack(c, a32)))));
  }
  {
    Outcome h = onX87([&](Memory80& r, uint16_t& status) {
      asm volatile("fldl %2\n fnstsw %1\n fstpt %0" : "=m"(r), "=m"(status) : "m"(a64));
    });
    h.condition = 0;
    FloatContext c = x87Context();
    report("fld m64", a64, 0, h, outcome(c, pack<Float80>(c, convert(c, unpack(c, a64)))));
  }
  {
    int64_t integer = 0;
    Outcome h = onX87([&](Memory80&, uint16_t& status) {
      asm volatile("fldt %2\n fistpq %0\n fnstsw %1" : "=m"(integer), "=m"(status) : "m"(ma));
    });
    h.value = static_cast<uint64_t>(integer);
    h.condition = 0;
    FloatContext c = x87Context();
    auto v = static_cast<uint64_t>(toInteger(c, unpack(c, a), 64));
    report("fistp m64", a, 0, h, {v, 0, c.flags, c.roundedUp, 0});
  }
  {
    int16_t integer = 0;
    Outcome h = onX87([&](Memory80&, uint16_t& status) {
      asm volatile("fldt %2\n fistps %0\n fnstsw %1" : "=m"(integer), "=m"(status) : "m"(ma));
    });
    h.value = static_cast<uint64_t>(integer);
    h.condition = 0;
    FloatContext c = x87Context();
    auto v = static_cast<uint64_t>(toInteger(c, unpack(c, a), 16));
    report("fistp m16", a, 0, h, {v, 0, c.flags, c.roundedUp, 0});
  }
  {
    auto integer = static_cast<int64_t>(random.bits());
    Outcome h = onX87([&](Memory80& r, uint16_t& status) {
      asm volatile("fildq %2\n fnstsw %1\n fstpt %0" : "=m"(r), "=m"(status) : "m"(integer));
    });
    h.condition = 0;
    FloatContext c = x87Context();
    report("fild", static_cast<uint64_t>(integer), 0, h, outcome(c, pack<Float80>(c, fromInteger(integer))));
  }
}

template <typename Bits, typename Other>
void sseConvert(const char* name, Bits a, void (*host)(Bits, uint64_t&)) {
  Outcome h = onSse([&](Outcome& out) { host(a, out.value); });
  FloatContext c = sseContext();
  report(name, a, 0, h, outcome(c, static_cast<uint64_t>(pack<Other>(c, convert(c, unpack(c, a))))));
}

void sseRound(Random& random) {
  mxcsr = 0x1f80 | random.below(4) << 13;
  if (random.below(4) == 0) mxcsr |= 0x40;
  if (random.below(4) == 0) mxcsr |= 0x8000;
  {
    uint32_t a, b;
    random.operand(a);
    random.operand(b);
    if (random.below(4) == 0) b = (b & 0x807fffff) | (a & 0x7f800000);
    SSE_BINARY(add, addss, uint32_t);
    SSE_BINARY(subtract, subss, uint32_t);
    SSE_BINARY(multiply, mulss, uint32_t);
    SSE_BINARY(divide, divss, uint32_t);
    SSE_BINARY(root, sqrtss, uint32_t);
    sseConvert<uint32_t, uint64_t>("cvtss2sd", a, [](uint32_t x, uint64_t& r) {
      float v;
      double w = 0;
      std::memcpy(&v, &x, 4);
      asm volatile("cvtss2sd %1, %0" : "+x"(w) : "x"(v));
      std::memcpy(&r, &w, 8);
    });
    Outcome h = onSse([&](Outcome& out) {
      float v;
      std::memcpy(&v, &a, 4);
      asm volatile("cvtss2si %1, %0" : "=r"(out.value) : "x"(v));
    });
    FloatContext c = sseContext();
    report("cvtss2si", a, 0, h, outcome(c, static_cast<uint64_t>(toInteger(c, unpack(c, a), 64))));
  }
  {
    uint64_t a, b;
    random.operand(a);
    random.operand(b);
    if (random.below(4) == 0) b = (b & 0x800fffffffffffff) | (a & 0x7ff0000000000000);
    SSE_BINARY(add, addsd, uint64_t);
    SSE_BINARY(subtract, subsd, uint64_t);
    SSE_BINARY(multiply, mulsd, uint64_t);
    SSE_BINARY(divide, divsd, uint64_t);
    SSE_BINARY(root, sqrtsd, uint64_t);
    sseConvert<uint64_t, uint32_t>("cvtsd2ss", a, [](uint64_t x, uint64_t& r) {
      float v = 0;
      double w;
      std::memcpy(&w, &x, 8);
      asm volatile("cvtsd2ss %1, %0" : "+x"(v) : "x"(w));
      uint32_t bits;
      std::memcpy(&bits, &v, 4);
      r = bits;
    });
    for (bool quiet : {false, true}) {
      Outcome h = onSse([&](Outcome& out) {
        double x, y;
        bool cf, zf, pf;
        std::memcpy(&x, &a, 8);
        std::memcpy(&y, &b, 8);
        if (quiet) {
          asm volatile("ucomisd %4, %3" : "=@ccc"(cf), "=@ccz"(zf), "=@ccp"(pf) : "x"(x), "x"(y));
        } else {
          asm volatile("comisd %4, %3" : "=@ccc"(cf), "=@ccz"(zf), "=@ccp"(pf) : "x"(x), "x"(y));
        }
        out.condition = cf | pf << 2 | zf << 6;
      });
      FloatContext c = sseContext();
      constexpr unsigned kConditions[] = {1, 0x40, 0, 0x45};
      Order order = compare(c, unpack(c, a), unpack(c, b), quiet);
      report(quiet ? "ucomisd" : "comisd", a, b, h, {0, 0, c.flags, false, kConditions[static_cast<unsigned>(order)]});
    }
    Outcome h = onSse([&](Outcome& out) {
      double v;
      std::memcpy(&v, &a, 8);
      int32_t r;
      asm volatile("cvtsd2si %1, %0" : "=r"(r) : "x"(v));
      out.value = static_cast<uint64_t>(static_cast<int64_t>(r));
    });
    FloatContext c = sseContext();
    report("cvtsd2si", a, 0, h, outcome(c, static_cast<uint64_t>(toInteger(c, unpack(c, a), 32))));
  }
}

// ---- Transcendental functions: within one unit in the last place, and how often they are the same ------------------

struct Closeness {
  const char* name;
  unsigned long cases, equal;
} closeness[] = {{"fsin", 0, 0},  {"fcos", 0, 0},    {"fptan", 0, 0}, {"fpatan", 0, 0},
                 {"fyl2x", 0, 0}, {"fyl2xp1", 0, 0}, {"f2xm1", 0, 0}};
enum { kSin, kCos, kTan, kAtan, kYl2x, kYl2xp1, k2xm1 };

void closeTo(unsigned function, Float80 a, Float80 b, const Memory80& host, const Number& result) {
  FloatContext c = x87Context();
  const Float80 h = fromMemory(host), o = pack<Float80>(c, result);
  ++cases;
  ++closeness[function].cases;
  if (h.significand == o.significand && h.signExponent == o.signExponent) {
    ++closeness[function].equal;
    return;
  }
  // Both as one integer each, of which the significand is the lower part.
  auto number = [](Float80 v) {
    return static_cast<unsigned __int128>(v.signExponent) << 63 | (v.significand & ~(uint64_t{1} << 63));
  };
  const auto x = number(h), y = number(o);
  if ((x > y ? x - y : y - x) > 1) {
    --cases;
    report(closeness[function].name, a, b, {h.significand, h.signExponent, 0, false, 0}, outcome(c, o));
  }
}

void transcendentalRound(Random& random) {
  controlWord = static_cast<uint16_t>(0x37f | random.below(4) << 10);
  auto number = [&](int exponent, unsigned below) {
    return Float80{
        random.bits() | uint64_t{1} << 63,
        static_cast<uint16_t>(random.below(2) << 15 |
                              static_cast<unsigned>(0x3fff + exponent + static_cast<int>(random.below(below))))};
  };
  const FloatContext c;
  const Float80 a = number(-20, 40), b = number(-20, 40), small = number(-30, 29), tiny = number(-30, 28);
  Float80 positive = a;
  positive.signExponent &= 0x7fff;
  if (positive.signExponent == 0x3fff) positive.significand |= 1;  // 1 itself is a case apart
  const Memory80 ma = toMemory(a), mb = toMemory(b), ms = toMemory(small), mt = toMemory(tiny), mp = toMemory(positive);
  Memory80 r;
  asm volatile("fninit\n fldcw %0" ::"m"(controlWord));
  asm volatile("fldt %1\n fsin\n fstpt %0" : "=m"(r) : "m"(ma));
  closeTo(kSin, a, b, r, sineCosine(unpack(c, a)).sine);
  asm volatile("fldt %1\n fcos\n fstpt %0" : "=m"(r) : "m"(ma));
  closeTo(kCos, a, b, r, sineCosine(unpack(c, a)).cosine);
  asm volatile("fldt %1\n fptan\n fstp %%st(0)\n fstpt %0" : "=m"(r) : "m"(ma));
  closeTo(kTan, a, b, r, tangent(unpack(c, a)));
  asm volatile("fldt %2\n fldt %1\n fpatan\n fstpt %0" : "=m"(r) : "m"(ma), "m"(mb));
  closeTo(kAtan, a, b, r, arctangent(unpack(c, b), unpack(c, a)));
  asm volatile("fldt %2\n fldt %1\n fyl2x\n fstpt %0" : "=m"(r) : "m"(mp), "m"(mb));
  closeTo(kYl2x, positive, b, r, multiplyLog2(unpack(c, b), unpack(c, positive)));
  asm volatile("fldt %2\n fldt %1\n fyl2xp1\n fstpt %0" : "=m"(r) : "m"(mt), "m"(mb));
  closeTo(kYl2xp1, tiny, b, r, multiplyLog2Plus1(unpack(c, b), unpack(c, tiny)));
  asm volatile("fldt %1\n f2xm1\n fstpt %0" : "=m"(r) : "m"(ms));
  closeTo(k2xm1, small, b, r, exponentialMinus1(unpack(c, small)));
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long rounds = 100000;
  Random random{1};
  for (int i = 1; i + 1 < argc; i += 2) {
    uint64_t value = std::strtoull(argv[i + 1], nullptr, 0);
    if (!std::strcmp(argv[i], "--cases")) rounds = value / 32;
    if (!std::strcmp(argv[i], "--seed")) random.state = value;
  }
  for (unsigned long i = 0; i < rounds; ++i) {
    x87Round(random);
    sseRound(random);
    if (i % 4 == 0) transcendentalRound(random);
  }
  std::printf("the same as the host's, of those within one unit in the last place:");
  for (const Closeness& c : closeness)
    std::printf(" %s %.1f%%", c.name, 100.0 * static_cast<double>(c.equal) / static_cast<double>(c.cases));
  std::printf("\n");
  std::printf("softfloat: %lu cases, %lu differences\n", cases, failures);
  return failures != 0;
}

#else

int main() {
  std::puts("softfloat: skipped, the host is not an x86-64");
  return 77;
}

#endif
