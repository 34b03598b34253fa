// The comm page as the driver must see it: memory that the caller may rewrite at any moment.
#pragma once

#include <cstdint>

#include "../../abi/nvmm.h"

namespace nvmm::mock {

// Version 2's layout serves for both versions: in version 1 `stop` is padding, that is never touched.
using CommPage = abi::nvmm_comm_page_v2;

// One access to a field of the header, that the compiler may neither repeat nor split.
template <class T>
T load(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}
template <class T>
void store(T& field, T value) {
  __atomic_store_n(&field, value, __ATOMIC_RELAXED);
}

// The caller may have put any byte into a bool.
inline bool loadBool(const bool& field) { return load(reinterpret_cast<const uint8_t&>(field)) != 0; }
inline void storeBool(bool& field, bool value) { store(reinterpret_cast<uint8_t&>(field), uint8_t{value}); }

}  // namespace nvmm::mock
