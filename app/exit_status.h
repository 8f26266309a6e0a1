// How segctl and segmentd end.
#pragma once

namespace segmentd {

enum ExitStatus : int {
  kDone = 0,
  // The answer is no, nothing was found, or (diff) there are differences.
  kNo = 1,
  // Wrong use, or input that can't be used.
  kWrongUse = 2,
  // The server, the broker or a file could not be reached or gave up.
  kUnavailable = 3,
};

}  // namespace segmentd
