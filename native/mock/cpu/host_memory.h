// Loads and stores of guest memory, which other processors and the host's program may access at the same time.
#pragma once

#include <cstdint>
#include <cstring>

namespace nvmm::cpu {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "guest values are kept as the host's");

// The guest's own data races are its business, not ThreadSanitizer's.
#if defined(__SANITIZE_THREAD__)
#define NVMM_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NVMM_TSAN
#endif
#endif
#ifdef NVMM_TSAN
#define NVMM_GUEST_ACCESS __attribute__((no_sanitize("thread"), noinline))
#else
#define NVMM_GUEST_ACCESS
#endif

// x86 keeps loads and stores in order; a host that doesn't needs acquire and release for its aligned ones.
#if defined(__x86_64__) || defined(__i386__)
constexpr bool kHostOrdered = true;
#else
constexpr bool kHostOrdered = false;
#endif

template <typename T>
inline bool aligned(const uint8_t* host) {
  return (reinterpret_cast<uintptr_t>(host) & (sizeof(T) - 1)) == 0;
}

template <typename T>
NVMM_GUEST_ACCESS inline T loadHost(const uint8_t* host) {
  if constexpr (!kHostOrdered && sizeof(T) <= 8) {
    if (aligned<T>(host)) return __atomic_load_n(reinterpret_cast<const T*>(host), __ATOMIC_ACQUIRE);
  }
  T value;
  __builtin_memcpy(&value, host, sizeof(T));
  return value;
}

template <typename T>
NVMM_GUEST_ACCESS inline void storeHost(uint8_t* host, T value) {
  if constexpr (!kHostOrdered && sizeof(T) <= 8) {
    if (aligned<T>(host)) return __atomic_store_n(reinterpret_cast<T*>(host), value, __ATOMIC_RELEASE);
  }
  __builtin_memcpy(host, &value, sizeof(T));
}

// memmove and memset, which ThreadSanitizer would intercept.
NVMM_GUEST_ACCESS inline void copyHost(uint8_t* to, const uint8_t* from, size_t size) {
#ifdef NVMM_TSAN
  for (volatile uint8_t* p = to; size; --size) *p++ = *from++;
#else
  memmove(to, from, size);
#endif
}
NVMM_GUEST_ACCESS inline void fillHost(uint8_t* to, uint8_t value, size_t size) {
#ifdef NVMM_TSAN
  for (volatile uint8_t* p = to; size; --size) *p++ = value;
#else
  memset(to, value, size);
#endif
}

inline void loadHost(void* to, const uint8_t* host, unsigned size) { copyHost(static_cast<uint8_t*>(to), host, size); }
inline void storeHost(uint8_t* host, const void* from, unsigned size) {
  copyHost(host, static_cast<const uint8_t*>(from), size);
}

NVMM_GUEST_ACCESS inline bool sameHost(const uint8_t* a, const uint8_t* host, unsigned size) {
#ifdef NVMM_TSAN
  while (size && *a++ == *host++) --size;
  return size == 0;
#else
  // Most are the two or three short instructions of a loop: a call would cost more than they.
  const auto same = [&](auto word) {
    decltype(word) first, last, hostFirst, hostLast;
    const unsigned end = size - sizeof word;
    __builtin_memcpy(&first, a, sizeof word);
    __builtin_memcpy(&hostFirst, host, sizeof word);
    __builtin_memcpy(&last, a + end, sizeof word);
    __builtin_memcpy(&hostLast, host + end, sizeof word);
    return ((first ^ hostFirst) | (last ^ hostLast)) == 0;
  };
  if (size > 16) return memcmp(a, host, size) == 0;
  if (size >= 8) return same(uint64_t{});
  if (size >= 4) return same(uint32_t{});
  if (size >= 2) return same(uint16_t{}) && a[size / 2] == host[size / 2];
  return size == 0 || *a == *host;
#endif
}

}  // namespace nvmm::cpu
