"""Scores of the embedded scenes: what was asked for, and is it there?"""
