#include "state/user_store.h"

#include <rapidcheck.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rapidcheck/gtest.h"

namespace segmentd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<UserIndex> Dirty(const UserStore& store) {
  std::vector<UserIndex> indexes;
  for (const StoredUser* user = store.oldest_dirty(); user != nullptr;
       user = store.newer_dirty(*user)) {
    indexes.push_back(user->index());
  }
  EXPECT_EQ(indexes.size(), store.dirty());
  return indexes;
}

TEST(UserStore, FindsWhatWasCreated) {
  UserStore store;
  EXPECT_EQ(store.find("u1"), nullptr);
  StoredUser& user = store.find_or_create("u1");
  EXPECT_EQ(user.id(), "u1");
  EXPECT_EQ(user.index(), 0u);
  EXPECT_EQ(user.state.exists_since, Time::Max());
  EXPECT_EQ(&store.find_or_create("u1"), &user);
  EXPECT_EQ(store.find("u1"), &user);
  EXPECT_EQ(store.find("u2"), nullptr);
  EXPECT_EQ(store.size(), 1u);
}

TEST(UserStore, UsersStayWhereTheyAre) {
  UserStore store;
  std::vector<StoredUser*> users;
  auto id = [](size_t i) {
    // Short and long IDs, one with a chunk of its own.
    return i == 5000 ? std::string(100'000, 'x') : std::string(i % 50, '.') + std::to_string(i);
  };
  for (size_t i = 0; i < 30'000; ++i) users.push_back(&store.find_or_create(id(i)));
  ASSERT_EQ(store.size(), 30'000u);
  for (size_t i = 0; i < users.size(); ++i) {
    const uint64_t hash = UserStore::Hash(id(i));
    store.prefetch(hash);
    store.prefetch_user(hash);
    store.prefetch_state(hash);
    ASSERT_EQ(store.find(hash, id(i)), users[i]);
    ASSERT_EQ(users[i]->id(), id(i));
    ASSERT_EQ(users[i]->index(), i);
    ASSERT_EQ(&store[static_cast<UserIndex>(i)], users[i]);
  }
  EXPECT_EQ(store.find("none"), nullptr);
}

TEST(UserStore, EqualHashesAreToldApartByTheId) {
  UserStore store;
  for (uint64_t hash : {uint64_t{0}, UINT64_MAX, uint64_t{1} << 40}) {
    for (int i = 0; i < 100; ++i) {
      store.find_or_create(hash, std::to_string(hash) + "/" + std::to_string(i));
    }
  }
  // The table has grown since, and the last slots' neighbours are the first.
  for (int i = 0; i < 3000; ++i) store.find_or_create(std::to_string(i));
  for (uint64_t hash : {uint64_t{0}, UINT64_MAX, uint64_t{1} << 40}) {
    for (int i = 0; i < 100; ++i) {
      const std::string id = std::to_string(hash) + "/" + std::to_string(i);
      ASSERT_NE(store.find(hash, id), nullptr);
      EXPECT_EQ(store.find(hash, id)->id(), id);
    }
    EXPECT_EQ(store.find(hash, "other"), nullptr);
  }
}

TEST(UserStore, TheLongestDirtyComesFirst) {
  UserStore store;
  for (const char* id : {"a", "b", "c", "d"}) store.find_or_create(id);
  EXPECT_EQ(store.oldest_dirty(), nullptr);
  store.mark_dirty(store[1], Offset(10));
  store.mark_dirty(store[0], Offset(11));
  store.mark_dirty(store[1], Offset(12));
  store.mark_dirty(store[3], Offset(13));
  EXPECT_THAT(Dirty(store), ElementsAre(1, 0, 3));
  EXPECT_EQ(store.oldest_dirty()->dirty_since(), Offset(10));

  store.mark_saved(store[0], 100);
  EXPECT_THAT(Dirty(store), ElementsAre(1, 3));
  EXPECT_FALSE(store[0].dirty());
  store.mark_dirty(store[0], Offset(14));
  store.mark_saved(store[1], 100);
  EXPECT_THAT(Dirty(store), ElementsAre(3, 0));
  store.mark_dirty(store[2], Offset(12));
  EXPECT_THAT(Dirty(store), ElementsAre(2, 3, 0));
  store.mark_saved(store[2], 1);
  store.mark_saved(store[3], 1);
  store.mark_saved(store[0], 1);
  EXPECT_THAT(Dirty(store), IsEmpty());
  store.mark_saved(store[0], 1);
  EXPECT_THAT(Dirty(store), IsEmpty());
}

RC_GTEST_PROP(UserStore, TheQueueIsSortedByDirtySince,
              (const std::vector<std::pair<uint8_t, uint8_t>>& steps)) {
  UserStore store;
  for (int i = 0; i < 8; ++i) store.find_or_create(std::to_string(i));
  std::unordered_map<UserIndex, Offset> expected;
  for (const auto& [step, offset] : steps) {
    StoredUser& user = store[step % 8];
    if (step < 160) {
      store.mark_dirty(user, Offset(offset));
      expected.try_emplace(user.index(), Offset(offset));
    } else {
      store.mark_saved(user, offset);
      expected.erase(user.index());
    }
    const std::vector<UserIndex> dirty = Dirty(store);
    RC_ASSERT(dirty.size() == expected.size());
    Offset last(0);
    for (UserIndex index : dirty) {
      RC_ASSERT(expected.at(index) == store[index].dirty_since());
      RC_ASSERT(store[index].dirty_since() >= last);
      last = store[index].dirty_since();
    }
  }
}

TEST(UserStore, BytesFollowTheImages) {
  UserStore store;
  StoredUser& user = store.find_or_create("u1");
  const size_t before = store.bytes();
  store.mark_saved(user, 1000);
  EXPECT_EQ(store.bytes(), before + 1000);
  store.mark_saved(user, 300);
  EXPECT_EQ(store.bytes(), before + 300);
}

}  // namespace
}  // namespace segmentd
