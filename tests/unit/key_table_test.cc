#include "segment/key_table.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "gtest/gtest.h"

namespace segmentd {
namespace {

TEST(KeyTable, KeepsTheFirstNumberOfAKey) {
  KeyTable table;
  EXPECT_EQ(table.find("amount"), KeyTable::kNone);
  EXPECT_EQ(table.add("amount", 7), 7u);
  EXPECT_EQ(table.add("amount", 8), 7u);
  EXPECT_EQ(table.find("amount"), 7u);
  EXPECT_EQ(table.add("", 0), 0u);
  EXPECT_EQ(table.find(""), 0u);
}

// Each byte counts, wherever the words that are compared overlap or leave a gap.
TEST(KeyTable, TellsKeysOfAnyLengthApartByEveryByte) {
  for (size_t length = 1; length < 40; ++length) {
    KeyTable table;
    const std::string key(length, 'k');
    table.add(key, 1);
    EXPECT_EQ(table.find(key), 1u);
    EXPECT_EQ(table.find(key + "k"), KeyTable::kNone);
    EXPECT_EQ(table.find(std::string_view(key).substr(1)), KeyTable::kNone);
    for (size_t at = 0; at < length; ++at) {
      std::string other = key;
      for (const char changed : {'K', '\0', '\xff'}) {
        other[at] = changed;
        EXPECT_EQ(table.find(other), KeyTable::kNone) << length << " " << at;
      }
    }
  }
}

// Names as people give them: alike but for a few digits, wherever these stand.
TEST(KeyTable, SpreadsKeysThatAreMuchAlike) {
  using Family = std::pair<std::string_view, std::string_view>;
  for (const auto& [before, behind] :
       {Family{"", ""}, Family{"Event ", ""}, Family{"level_", "_done"},
        Family{"level_", "_started"}, Family{"level_", "_finished"},
        Family{"screen_", "_was_viewed"}, Family{"checkout_", "_was_completed"},
        Family{"a rather long name, no. ", ""},
        Family{"", ": at the beginning of a rather long name"},
        Family{"in the middle of a name ", " that has many words"}}) {
    for (const size_t width : {1, 4, 8}) {
      KeyTable table;
      for (uint32_t i = 0; i < 2500; ++i) {
        std::string number = std::to_string(i);
        number.insert(0, std::max(width, number.size()) - number.size(), '0');
        table.add(std::string(before) + number + std::string(behind), i);
      }
      EXPECT_LE(table.longest_probe(), 24u) << before << behind << " " << width;
    }
  }
}

TEST(KeyTable, FindsWhatAMapFinds) {
  std::mt19937 random(4);
  KeyTable table;
  std::unordered_map<std::string, uint32_t> expected;
  // Few characters, so that many keys share words.
  const auto key = [&] {
    std::string text(random() % 20, 'a');
    for (char& c : text) c = random() % 4 == 0 ? 'b' : 'a';
    return text;
  };
  for (uint32_t i = 0; i < 5000; ++i) {
    const std::string text = key();
    EXPECT_EQ(table.add(text, i), expected.try_emplace(text, i).first->second);
    const std::string other = key();
    const auto found = expected.find(other);
    EXPECT_EQ(table.find(other), found == expected.end() ? KeyTable::kNone : found->second);
  }
}

}  // namespace
}  // namespace segmentd
