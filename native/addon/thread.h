// Threads of our own, which Node knows nothing of.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace nvmm {

// How long the end of an environment waits for a thread. Only a driver that lets go of nothing takes longer: the thread
// is left to itself then, with all that it uses.
constexpr auto kPatience = std::chrono::seconds(2);

class Thread {
 public:
  // Signals to the process belong to the threads of Node: only kicks may reach this one. What `body` uses it must own.
  explicit Thread(std::function<void()> body);
  // True if the thread has ended in time.
  bool join(std::chrono::milliseconds patience);

 private:
  struct End {
    std::mutex lock;
    std::condition_variable reached;
    bool isReached = false;
  };
  const std::shared_ptr<End> end_ = std::make_shared<End>();
  std::thread thread_;
};

}  // namespace nvmm
