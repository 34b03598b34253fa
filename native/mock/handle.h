// Handles of mock devices.
#pragma once

#include "../device/handle.h"
#include "mock_device.h"

namespace nvmm::mock {

// The mock device in `value`, or null if it is none.
inline std::shared_ptr<MockDevice> deviceOf(const Napi::Value& value) {
  return std::dynamic_pointer_cast<MockDevice>(nvmm::deviceOf(value));
}

}  // namespace nvmm::mock
