// The second thread of a run: sets `stop` of the comm page from some moment on, and ends a run that lasts too long.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "../device/raw_device.h"
#include "memory.h"

namespace nvmm {

class Watch {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // Watches what the calling thread runs until this is destroyed. `stop` is an address, or 0 for none.
  Watch(RawDevice& device, uint64_t stop, Milliseconds stopAfter, Milliseconds limit)
      : thread_([=, &device, runner = pthread_self()] { watch(device, runner, stop, stopAfter, limit); }) {}

  ~Watch() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

 private:
  void watch(RawDevice& device, pthread_t runner, uint64_t stop, Milliseconds stopAfter, Milliseconds limit) {
    const auto start = std::chrono::steady_clock::now();
    const auto passed = [&](Milliseconds time) { return std::chrono::steady_clock::now() - start >= time; };
    const int32_t one = 1;
    std::unique_lock<std::mutex> lock(mutex_);
    auto pause = stop ? std::min(stopAfter, limit) : limit;
    while (!wake_.wait_for(lock, pause, [this] { return done_; })) {
      // Again and again: each return of a run in between erases the flag, and a kick that comes too early is lost.
      if (stop && passed(stopAfter)) store(stop, &one, sizeof(one));
      if (passed(limit)) device.kick(runner);
      pause = Milliseconds(3);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::thread thread_;  // last, because it uses the others
};

}  // namespace nvmm
