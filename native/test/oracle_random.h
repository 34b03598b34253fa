// Random numbers, and random values at which integer instructions change their mind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nvmm::oracle {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  unsigned below(unsigned n) { return static_cast<unsigned>((next() >> 32) * n >> 32); }
  bool chance(unsigned percent) { return below(100) < percent; }
  template <typename T, size_t N>
  T pick(const T (&values)[N]) {
    return values[below(N)];
  }

 private:
  uint64_t state_;
};

inline uint64_t interesting(Random& random) {
  switch (random.below(8)) {
    case 0: return random.below(4);
    case 1: return ~uint64_t{random.below(4)};
    case 2: {  // around the limits of signed and unsigned integers
      constexpr unsigned kBits[] = {4, 7, 8, 15, 16, 31, 32, 63};
      return (uint64_t{1} << random.pick(kBits)) + random.below(5) - 2;
    }
    case 3: return ~(uint64_t{1} << random.below(64));
    case 4: return uint64_t{1} << random.below(64);
    case 5: return random.next() >> random.below(64);
    case 6: return (random.next() & 0xff) * 0x0101010101010101;
    default: return random.next();
  }
}

template <typename T>
void store(uint8_t* p, T value) {
  std::memcpy(p, &value, sizeof value);
}

}  // namespace nvmm::oracle
