#include "kernels/core/host_calls.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <thread>

namespace triforce {
namespace {

// Notes a digit for each call.
struct Digit {
  std::string* digits;
  char digit;
  static void Note(void* self) {
    const Digit& digit = *static_cast<Digit*>(self);
    digit.digits->push_back(digit.digit);
  }
};

TEST_CASE("calls that a device has given up are made once, in order, behind those that it has made") {
  HostCalls calls;
  const auto work = std::make_shared<LaneWork>();
  std::string digits;
  Digit one{&digits, '1'}, two{&digits, '2'}, three{&digits, '3'};
  void* const first = calls.Add({&Digit::Note, &one, work, 0});
  calls.Add({&Digit::Note, &two, work, 1});
  void* const third = calls.Add({&Digit::Note, &three, work, 2});
  HostCalls::Run(first);
  CHECK(calls.pending());
  calls.CallRest();
  CHECK(digits == "123");
  CHECK_FALSE(calls.pending());
  HostCalls::Run(third);  // too late
  CHECK(digits == "123");
}

TEST_CASE("a call that runs elsewhere is waited for") {
  HostCalls calls;
  const auto work = std::make_shared<LaneWork>();
  std::atomic<bool> begun{false}, go{false}, ended{false};
  struct Flags {
    std::atomic<bool>*begun, *go, *ended;
  } flags{&begun, &go, &ended};
  void* const queued = calls.Add({[](void* context) {
                                    const Flags& flags = *static_cast<Flags*>(context);
                                    flags.begun->store(true);
                                    flags.begun->notify_all();
                                    flags.go->wait(false);
                                    flags.ended->store(true);
                                  },
                                  &flags, work, 0});
  std::jthread device([queued] { HostCalls::Run(queued); });
  begun.wait(false);
  std::jthread later([&go] {
    go.store(true);
    go.notify_all();
  });
  calls.CallRest();
  CHECK(ended.load());
}

TEST_CASE("what a call throws is its work's failure, and calls are used again") {
  HostCalls calls;
  const auto work = std::make_shared<LaneWork>();
  RestsOn rests_on;
  rests_on.Add(work, 100);
  for (int i = 0; i < 50; ++i) {
    HostCalls::Run(calls.Add({[](void*) {}, nullptr, work, i}));
    CHECK_FALSE(calls.pending());
  }
  CHECK(work.use_count() == 2);  // done calls hold nothing
  HostCalls::Run(calls.Add({[](void*) { throw std::runtime_error("disk"); }, nullptr, work, 50}));
  CHECK(rests_on.Failure() != nullptr);
}

}  // namespace
}  // namespace triforce
