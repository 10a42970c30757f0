// SPDX-License-Identifier: BSD-3-Clause
// Objects by numbers of 32 bits that operators chose: groups, meters. A value like each of them:
// copies share what does not differ. Readers of one that does not change need no lock.
#pragma once

#include "dataplane/flow/hamt.hh"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace strait::flow {

// T has id(), and is counted as hamt needs it.
template <typename T>
class id_map {
public:
    using pointer = typename hamt<const T>::pointer;

    // Null: there is none.
    [[nodiscard]] const T* find(std::uint32_t id) const noexcept
    {
        const auto found = objects_.find(id);
        return found.empty() ? nullptr : found.front().get();
    }
    // In place of that with the same number.
    void put(pointer object)
    {
        const std::uint32_t id = object->id();
        objects_.put(id, 0, std::move(object), any);
    }
    void erase(std::uint32_t id) { objects_.take(id, 0, any); }
    [[nodiscard]] std::size_t size() const noexcept { return objects_.size(); }
    [[nodiscard]] bool empty() const noexcept { return objects_.empty(); }

    // In no order.
    template <typename Visit>
    void for_each(const Visit& visit) const
    {
        objects_.for_each([&](const auto& entry) { visit(*entry.get()); });
    }

private:
    // A number is its own hash.
    static constexpr auto any = [](const T&) noexcept { return true; };

    hamt<const T> objects_;
};

} // namespace strait::flow
