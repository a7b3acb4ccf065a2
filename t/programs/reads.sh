#!/bin/bash
# Says what it reads, and when it is interrupted, until "bye".
# SPDX-License-Identifier: Apache-2.0
trap 'echo "interrupted"' INT
echo begun
until [ "${line-}" = bye ]; do
    if read -r line; then
        echo "read <$line>"
    fi
done
exit 7
